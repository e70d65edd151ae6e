//go:build !unix

package shell

// Sys implements fs.FileInfo.
func (i *info) Sys() any { return nil }
