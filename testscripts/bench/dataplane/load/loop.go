//go:build linux

package load

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// loop drives all connections of a job from one thread.
type loop struct {
	job     *Job
	address *unix.SockaddrInet4
	name    string
	epoll   int
	conns   []*conn // by descriptor
	buffer  []byte
	result  Result
	latency histogram
	begin   time.Time
	fatal   error // ends the job
	// Open loop: how many requests have become due, which connections wait for one, and when those were due that wait
	// for a connection.
	due    int64
	timer  int
	idle   []*conn
	queued []time.Duration
}

// readBuffer is how many bytes are read at a time.
const readBuffer = 256 << 10

func runLoop(j *Job, started func()) (*Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	debug.SetGCPercent(1000)
	l, err := newLoop(j)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := l.open(); err != nil {
		return nil, err
	}
	l.begin = time.Now()
	if err := l.startClock(); err != nil {
		return nil, err
	}
	if err := l.until(j.Warmup); err != nil {
		return nil, err
	}
	l.result, l.latency = Result{}, histogram{}
	started()
	from := l.now()
	if err := l.until(from + j.Duration); err != nil {
		return nil, err
	}
	l.result.Elapsed = l.now() - from
	l.result.P50, l.result.P99 = l.latency.at(0.5), l.latency.at(0.99)
	return &l.result, nil
}

func newLoop(j *Job) (*loop, error) {
	a, err := parseAddress(j.Address)
	if err != nil {
		return nil, err
	}
	l := &loop{job: j, name: j.Address, address: &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}, buffer: make([]byte, readBuffer), timer: -1}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return l, nil
}

func (l *loop) close() {
	for _, c := range l.conns {
		if c != nil {
			_ = unix.Close(c.fd)
		}
	}
	if l.timer >= 0 {
		_ = unix.Close(l.timer)
	}
	_ = unix.Close(l.epoll)
}

// now is the time since the beginning.
func (l *loop) now() time.Duration { return time.Since(l.begin) }

// open opens the job's connections.
func (l *loop) open() error {
	l.begin = time.Now()
	for i := range l.job.Connections {
		c := newConn(l, l.job.Targets[i%len(l.job.Targets)])
		if l.job.Kind == Connect {
			l.idle = append(l.idle, c)
			continue
		}
		if err := c.connect(); err != nil {
			return err
		}
	}
	if l.job.Rate > 0 {
		return nil
	}
	waiting := l.idle
	l.idle = nil
	for _, c := range waiting {
		c.start(l.now())
	}
	return nil
}

// startClock arms the timer of an open loop: as often as requests become due, at most ten thousand times a second.
func (l *loop) startClock() error {
	if l.job.Rate <= 0 {
		return nil
	}
	var err error
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("timerfd_create: %w", err)
	}
	every := unix.NsecToTimespec(int64(max(time.Duration(float64(time.Second)/l.job.Rate), 100*time.Microsecond)))
	if err := unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return fmt.Errorf("timerfd_settime: %w", err)
	}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.timer)})
}

// until runs the loop until a time since the beginning.
func (l *loop) until(end time.Duration) error {
	events := make([]unix.EpollEvent, 256)
	for {
		left := end - l.now()
		if left <= 0 || l.fatal != nil {
			return l.fatal
		}
		n, err := unix.EpollWait(l.epoll, events, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) == l.timer {
				l.tick()
			} else if c := l.conns[e.Fd]; c != nil {
				c.ready(e.Events)
			}
		}
	}
}

// tick begins the requests that have become due.
func (l *loop) tick() {
	var count [8]byte
	_, _ = unix.Read(l.timer, count[:])
	for now := l.now(); ; l.due++ {
		at := time.Duration(float64(l.due) / l.job.Rate * float64(time.Second))
		if at > now {
			return
		}
		if len(l.idle) == 0 {
			l.queued = append(l.queued, at)
			continue
		}
		c := l.idle[0]
		l.idle = l.idle[1:]
		c.start(at)
	}
}

// free is called by a connection that has nothing to do.
func (l *loop) free(c *conn) {
	switch {
	case l.job.Rate <= 0:
		c.start(l.now())
	case len(l.queued) > 0:
		at := l.queued[0]
		l.queued = l.queued[1:]
		c.start(at)
	default:
		l.idle = append(l.idle, c)
	}
}

// answered counts a good answer.
func (l *loop) answered(since time.Duration) {
	l.result.Requests++
	l.latency.add(l.now() - since)
}

// failed counts a request without one.
func (l *loop) failed(why string) {
	l.result.Failed++
	if l.result.FirstFailure == "" {
		l.result.FirstFailure = why
	}
}

// watch has epoll tell about a descriptor.
func (l *loop) watch(c *conn, events uint32) error {
	for len(l.conns) <= c.fd {
		l.conns = append(l.conns, nil)
	}
	op := unix.EPOLL_CTL_MOD
	if l.conns[c.fd] == nil {
		op = unix.EPOLL_CTL_ADD
	}
	l.conns[c.fd] = c
	return unix.EpollCtl(l.epoll, op, c.fd, &unix.EpollEvent{Events: events, Fd: int32(c.fd)})
}

// forget closes a connection's descriptor, which takes it out of epoll.
func (l *loop) forget(c *conn) {
	l.conns[c.fd] = nil
	_ = unix.Close(c.fd)
	c.fd = -1
}

// dial opens a socket; without waiting the connection may still be on its way.
func (l *loop) dial(wait bool) (int, error) {
	kind := unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	if !wait {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Connect(fd, l.address); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return -1, &net.OpError{Op: "connect", Net: "tcp", Err: fmt.Errorf("%s: %w", l.name, err)}
	}
	return fd, nil
}
