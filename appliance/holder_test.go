package appliance

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestHeldBy(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address := l.Addr().String()
	_, err = net.Listen("tcp", address)
	if err == nil {
		t.Fatal("two listeners on one address")
	}
	if got := heldBy(err, address).Error(); !strings.Contains(got, "held by") || !strings.Contains(got, "(pid "+strconv.Itoa(os.Getpid())+")") {
		t.Errorf("got %q", got)
	}
	if got := heldBy(os.ErrPermission, address); got != os.ErrPermission {
		t.Errorf("another error became %q", got)
	}
}
