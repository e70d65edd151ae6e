//go:build linux && !poison

package loop

// poison does nothing: with build tag poison, it overwrites memory that is given back.
func poison(p []byte) []byte { return p }
