//go:build unix

package shell

import "syscall"

// Sys is what the shell's tests of owners want: everything is root's.
func (i *info) Sys() any { return &syscall.Stat_t{} }
