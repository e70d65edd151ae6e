//go:build linux

package loop

import "time"

// bufferSize is the capacity of pooled buffers: what is read at a time and room for what is written around it.
const bufferSize = chunk + chunk/4

// smallBuffer is where an unfinished head begins to be kept.
const smallBuffer = 4 << 10

// bufferPool keeps buffers for bytes that cannot go on yet. Connections that wait for nothing hold none.
type bufferPool struct {
	large, small [][]byte
	lent         int // bytes of capacity
	most         int // what may be lent; see full
}

// pooledBuffers bounds how many are kept.
const pooledBuffers = 64

// full tells that more is lent than may be.
func (b *bufferPool) full() bool { return b.lent > b.most }

// keep gives a buffer that holds a copy of p.
func (b *bufferPool) keep(p []byte) []byte { return b.add(nil, p) }

// add appends p to a buffer of the pool, nil for none yet; it may be another buffer then.
func (b *bufferPool) add(to, p []byte) []byte {
	if len(to)+len(p) <= cap(to) {
		return append(to, p...)
	}
	grown := b.get(max(len(to)+len(p), 2*cap(to)))
	grown = append(append(grown, to...), p...)
	b.put(to)
	return grown
}

// get gives an empty buffer for n bytes or more.
func (b *bufferPool) get(n int) []byte {
	var p []byte
	switch {
	case n <= smallBuffer:
		p = take(&b.small, smallBuffer)
	case n <= bufferSize:
		p = take(&b.large, bufferSize)
	default:
		p = make([]byte, 0, n)
	}
	b.lent += cap(p)
	return p
}

// take takes a pooled buffer or makes one.
func take(from *[][]byte, size int) []byte {
	if n := len(*from); n > 0 {
		p := (*from)[n-1]
		*from = (*from)[:n-1]
		return p
	}
	return make([]byte, 0, size)
}

// put takes a buffer back.
func (b *bufferPool) put(p []byte) {
	b.lent -= cap(p)
	switch {
	case cap(p) == smallBuffer && len(b.small) < pooledBuffers:
		b.small = append(b.small, poison(p)[:0])
	case cap(p) == bufferSize && len(b.large) < pooledBuffers:
		b.large = append(b.large, poison(p)[:0])
	}
}

// dateLayout is how HTTP writes time (RFC 9110 section 5.6.7).
const dateLayout = "Mon, 02 Jan 2006 15:04:05 GMT"

// dateCache is the value of Date, made once a second.
type dateCache struct {
	second int64
	text   string
}

// at gives the value for a moment.
func (d *dateCache) at(now time.Time) string {
	if s := now.Unix(); s != d.second || d.text == "" {
		d.second, d.text = s, now.UTC().Format(dateLayout)
	}
	return d.text
}
