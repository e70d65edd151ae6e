package cloudsim

import "crypto/rand"

// newID makes an id as the real cloud's: a prefix and lower-case letters and digits.
func newID(prefix string, length int) string {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, length)
	for i := 0; i < length; {
		var r [32]byte
		_, _ = rand.Read(r[:]) // never fails
		for _, c := range r {
			// 252 is the largest multiple of 36 in a byte: above it some letters would be likelier.
			if c < 252 && i < length {
				b[i] = alphabet[c%36]
				i++
			}
		}
	}
	return prefix + string(b)
}
