package loop

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watched is what a loop hears of, edge-triggered.
const watched = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff

// epoll is the poller of this system. Its descriptor is itself watched by Go's poller: a loop that waits is a parked
// goroutine and holds neither a thread nor a processor (ARCHITECTURE.md, "How a loop sleeps").
type epoll struct {
	fd     int
	file   *os.File
	raw    syscall.RawConn
	waker  int // an eventfd
	events [256]unix.EpollEvent

	// What the callback of RawConn.Read is given and gives; it is made once, so that waiting allocates nothing.
	into    []ready
	got     int
	err     error
	look    func(fd uintptr) bool
	mayWait bool
	rounds  int
}

// wakerGen is the generation under which the waker's news come.
const wakerGen = ^uint32(0)

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll instance: %w", err)
	}
	p := &epoll{fd: fd, waker: -1}
	if p.waker, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	_ = unix.SetNonblock(fd, true) // or os.NewFile would not give it to the poller
	p.file = os.NewFile(uintptr(fd), "epoll")
	if p.raw, err = p.file.SyscallConn(); err == nil {
		err = p.add(p.waker, wakerGen)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("watch an epoll instance: %w", err)
	}
	p.look = p.lookOnce
	return p, nil
}

func (p *epoll) add(fd int, gen uint32) error {
	ev := unix.EpollEvent{Events: watched, Fd: int32(fd), Pad: int32(gen)}
	if fd == p.waker {
		ev.Events = unix.EPOLLIN
	}
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &ev)
}

func (p *epoll) remove(fd int) { _ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }

// yieldEvery is after how many busy rounds a loop lets others run: it never parks while there is work, and the
// scheduler would take 10 ms to notice.
const yieldEvery = 16

func (p *epoll) wait(into []ready, mayWait bool) (int, error) {
	if p.rounds++; p.rounds >= yieldEvery {
		p.rounds = 0
		runtime.Gosched()
	}
	p.into, p.got, p.err, p.mayWait = into, 0, nil, mayWait
	if !mayWait {
		p.look(uintptr(p.fd))
		return p.got, p.err
	}
	if err := p.raw.Read(p.look); err != nil {
		return 0, err
	}
	return p.got, p.err
}

// lookOnce asks the kernel; false has the caller parked until there is something.
func (p *epoll) lookOnce(uintptr) bool {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(min(len(p.events), len(p.into))), 0, 0, 0)
	if errno != 0 {
		if errno != syscall.EINTR {
			p.err = fmt.Errorf("epoll: %w", errno)
		}
		return true
	}
	if n == 0 {
		p.rounds = 0
		return !p.mayWait
	}
	for i := range p.events[:n] {
		ev := &p.events[i]
		if uint32(ev.Pad) == wakerGen && int(ev.Fd) == p.waker {
			var count [8]byte
			_, _ = unix.Read(p.waker, count[:])
			continue
		}
		p.into[p.got] = ready{
			fd: ev.Fd, gen: uint32(ev.Pad), in: ev.Events&unix.EPOLLIN != 0, out: ev.Events&unix.EPOLLOUT != 0,
			end: ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
		}
		p.got++
	}
	return true
}

func (p *epoll) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.waker, one[:])
}

func (p *epoll) close() {
	if p.file != nil {
		p.file.Close()
	}
	if p.waker >= 0 {
		unix.Close(p.waker)
	}
}
