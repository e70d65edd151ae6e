package images

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"unicode/utf8"
)

// Frames of RFC 6455, the server's side.

type opcode byte

const (
	opContinuation opcode = 0
	opText         opcode = 1
	opBinary       opcode = 2
	opClose        opcode = 8
	opPing         opcode = 9
	opPong         opcode = 10
)

const (
	closeProtocol = 1002
	closeNoStatus = 1005 // never on the wire: a close frame without a code
	closePayload  = 1007
	closeTooBig   = 1009
)

// violation is a rule that the client broke; the code tells it which.
type violation struct {
	code int
	what string
}

func (v *violation) Error() string { return v.what }

func protocol(what string) error {
	return &violation{closeProtocol, "RangeError: Invalid WebSocket frame: " + what}
}

// closed is the client's own close.
type closed struct{ code int }

func (c *closed) Error() string { return "the client closed" }

// closeCodeOf gives the code to close with, or false when the connection is gone.
func closeCodeOf(err error) (int, bool) {
	var v *violation
	var c *closed
	switch {
	case errors.As(err, &v):
		return v.code, true
	case errors.As(err, &c):
		return c.code, true
	default:
		return 0, false
	}
}

// frame is a frame's header.
type frame struct {
	fin    bool
	op     opcode
	length int64
	mask   [4]byte
}

// header reads and checks a frame's header.
func (s *socket) header(continues bool) (frame, error) {
	var b [8]byte
	if _, err := io.ReadFull(s.in, b[:2]); err != nil {
		return frame{}, err
	}
	f := frame{fin: b[0]&0x80 != 0, op: opcode(b[0] & 0x0f), length: int64(b[1] & 0x7f)}
	switch {
	case b[0]&0x70 != 0:
		return f, protocol("RSV1, RSV2 and RSV3 must be clear")
	case f.op > opBinary && f.op < opClose || f.op > opPong:
		return f, protocol("invalid opcode")
	case f.op == opContinuation && !continues, (f.op == opText || f.op == opBinary) && continues:
		return f, protocol("invalid opcode")
	case f.op >= opClose && !f.fin:
		return f, protocol("FIN must be set")
	case f.op >= opClose && f.length > 125:
		return f, protocol("invalid payload length")
	case b[1]&0x80 == 0:
		return f, protocol("MASK must be set")
	}
	if f.length >= 126 {
		if err := s.extendedLength(&f); err != nil {
			return f, err
		}
	}
	_, err := io.ReadFull(s.in, f.mask[:])
	return f, err
}

func (s *socket) extendedLength(f *frame) error {
	var b [8]byte
	n := 2
	if f.length == 127 {
		n = 8
	}
	if _, err := io.ReadFull(s.in, b[8-n:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint64(b[:])
	if length > 1<<53-1 {
		return &violation{closeTooBig, "RangeError: Unsupported WebSocket frame: payload length > 2^53 - 1"}
	}
	f.length = int64(length)
	return nil
}

// payload reads and unmasks a frame's payload onto the end of b.
func (s *socket) payload(f frame, b []byte) ([]byte, error) {
	start := len(b)
	for int64(len(b)-start) < f.length {
		// Grows with what arrives, not with what a header promises.
		chunk := int(min(f.length-int64(len(b)-start), 32*1024))
		at := len(b)
		b = append(b, make([]byte, chunk)...)
		if _, err := io.ReadFull(s.in, b[at:]); err != nil {
			return nil, err
		}
	}
	for i := range b[start:] {
		b[start+i] ^= f.mask[i&3]
	}
	return b, nil
}

// read gives the next whole message. Control frames on the way are answered.
func (s *socket) read() (opcode, []byte, error) {
	var op opcode
	var message []byte
	var total int64
	continues := false
	for {
		f, err := s.header(continues)
		if err != nil {
			return 0, nil, err
		}
		if f.op >= opClose {
			if err := s.control(f); err != nil {
				return 0, nil, err
			}
			continue
		}
		if total += f.length; s.server.limits.message > 0 && total > s.server.limits.message {
			return 0, nil, &violation{closeTooBig, "RangeError: Max payload size exceeded"}
		}
		if !continues {
			op = f.op
		}
		if message, err = s.payload(f, message); err != nil {
			return 0, nil, err
		}
		if continues = !f.fin; continues {
			continue
		}
		if op == opText && !utf8.Valid(message) {
			return 0, nil, &violation{closePayload, "Error: Invalid WebSocket frame: invalid UTF-8 sequence"}
		}
		return op, message, nil
	}
}

// control handles a control frame; a close ends the reading.
func (s *socket) control(f frame) error {
	p, err := s.payload(f, nil)
	if err != nil {
		return err
	}
	switch f.op {
	case opPing:
		return s.send(opPong, p)
	case opPong:
		s.alive.Store(true)
		return nil
	default:
		return closeOf(p)
	}
}

func closeOf(p []byte) error {
	switch {
	case len(p) == 0:
		return &closed{closeNoStatus}
	case len(p) == 1:
		return protocol("invalid payload length 1")
	}
	code := int(binary.BigEndian.Uint16(p))
	if !validCloseCode(code) {
		return protocol("invalid status code")
	}
	if !utf8.Valid(p[2:]) {
		return &violation{closePayload, "Error: Invalid WebSocket frame: invalid UTF-8 sequence"}
	}
	return &closed{code}
}

func validCloseCode(code int) bool {
	return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006 || code >= 3000 && code <= 4999
}

// send writes one frame. It is safe for concurrent use.
func (s *socket) send(op opcode, p []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.closed = op == opClose
	head := make([]byte, 2, 10+len(p))
	head[0] = 0x80 | byte(op)
	switch {
	case len(p) < 126:
		head[1] = byte(len(p))
	case len(p) < 1<<16:
		head[1] = 126
		head = binary.BigEndian.AppendUint16(head, uint16(len(p)))
	default:
		head[1] = 127
		head = binary.BigEndian.AppendUint64(head, uint64(len(p)))
	}
	_, err := s.conn.Write(append(head, p...))
	return err
}

// sendClose writes a close frame; a close without a code is answered without one.
func (s *socket) sendClose(code int) error {
	if code == closeNoStatus {
		return s.send(opClose, nil)
	}
	return s.send(opClose, binary.BigEndian.AppendUint16(nil, uint16(code)))
}
