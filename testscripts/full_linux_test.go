package testscripts

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// fullAt is how far into a file the appliance can write while its disk is full: no store can grow or change, for both
// write beyond it.
const fullAt = 8 << 10

// full takes the appliance's disk away, as far as it can tell, and room gives it back: no file may grow.
func full(ts *testscript.TestScript, neg bool, args []string) {
	limitFiles(ts, neg || len(args) > 0, fullAt)
}

func room(ts *testscript.TestScript, neg bool, args []string) {
	limitFiles(ts, neg || len(args) > 0, unix.RLIM_INFINITY)
}

func limitFiles(ts *testscript.TestScript, wrong bool, bytes uint64) {
	p := processOf(ts)
	if wrong || p.cmd == nil {
		ts.Fatalf("usage: full, room; while an appliance runs")
	}
	limit := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		ts.Fatalf("limit the files of the appliance: %v", os.NewSyscallError("prlimit", err))
	}
}
