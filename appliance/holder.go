package appliance

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	psnet "github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"
)

// holder names the process that listens where a bind failed: on the address itself or on the wildcard, which excludes
// every address of the port (PLATFORM-FACTS section 3). It is "" when that cannot be known, as for other users'
// processes without root.
func holder(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	connections, err := psnet.Connections("tcp")
	if err != nil {
		return ""
	}
	for _, c := range connections {
		if c.Status != "LISTEN" || c.Pid == 0 || strconv.Itoa(int(c.Laddr.Port)) != port {
			continue
		}
		if ip := net.ParseIP(c.Laddr.IP); c.Laddr.IP != host && (ip == nil || !ip.IsUnspecified()) {
			continue
		}
		name := "a process"
		if p, err := process.NewProcess(c.Pid); err == nil {
			if n, err := p.Name(); err == nil {
				name = n
			}
		}
		return fmt.Sprintf("%s (pid %d)", name, c.Pid)
	}
	return ""
}

// heldBy completes an error about an address in use with its holder.
func heldBy(err error, address string) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	if who := holder(address); who != "" {
		return fmt.Errorf("%w, held by %s", err, who)
	}
	return err
}
