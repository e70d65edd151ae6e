//go:build linux

package loop

import (
	"net/netip"
	"syscall"
)

// kernel is the system calls that a loop makes on its descriptors, none of which waits. Tests put their own in its
// place: short counts, failures, a whole simulated network. Errno 0 is success.
type kernel interface {
	read(fd int, p []byte) (int, syscall.Errno)
	write(fd int, p []byte) (int, syscall.Errno)
	// accept takes one connection; its descriptor is non-blocking and not inherited.
	accept(fd int) (conn int, peer netip.AddrPort, errno syscall.Errno)
	// closeWrite tells the other side that nothing more comes.
	closeWrite(fd int) syscall.Errno
	close(fd int)
	// pipe makes a pipe for splice, of at least size bytes if the system grants it.
	pipe(size int) (r, w int, errno syscall.Errno)
	// splice moves up to n bytes between a socket and a pipe without copying them.
	splice(from, to, n int) (int, syscall.Errno)
}

// ready is what has happened to a descriptor.
type ready struct {
	fd  int32
	gen uint32
	in  bool // there may be bytes to read
	out bool // there may be room to write
	end bool // the other side has ended its half, or there is an error, which reading tells
}

// poller tells a loop what has happened since it last asked. Every change is told once (edge-triggered): who has been
// told reads or writes until the kernel says EAGAIN.
type poller interface {
	// add begins to watch a descriptor; gen comes back with what happens to it, so that news of a descriptor that was
	// closed are told from those of one that got its number.
	add(fd int, gen uint32) error
	// remove stops watching a descriptor that lives on; closing one does it by itself.
	remove(fd int)
	// wait gives what has happened; if nothing has, it waits if it may. It returns early after wake.
	wait(into []ready, mayWait bool) (int, error)
	// wake makes wait return. It may be called from any goroutine.
	wake()
	close()
}
