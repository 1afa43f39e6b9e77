package load

import (
	"encoding/binary"
	"fmt"
)

// HeaderSize is how many bytes at the start of every payload tell what it is; no
// payload is smaller. They hold, little endian:
//
//	0  uint16  publisher
//	2  uint48  number, from 0 for each publisher
//	8  int64   when it was due, in nanoseconds of [Clock]; 0 if it is not timed
//
// The rest is filler.
const HeaderSize = 16

// MaxNumber is the largest number of a message.
const MaxNumber = 1<<48 - 1

// End stands in place of when a message was due, and marks the end of what its
// publisher sends: the number is how many messages there were before it.
const End = -1

// Put writes the header of a message into b, which has [HeaderSize] bytes at least.
// Of number the lower 48 bits count.
func Put(b []byte, publisher uint16, number uint64, due int64) {
	_ = b[HeaderSize-1]
	binary.LittleEndian.PutUint64(b, uint64(publisher)|number<<16)
	binary.LittleEndian.PutUint64(b[8:], uint64(due))
}

// Parse reads what Put wrote. It is an error if b is shorter than that.
func Parse(b []byte) (publisher uint16, number uint64, due int64, err error) {
	if len(b) < HeaderSize {
		return 0, 0, 0, fmt.Errorf("a message of %d bytes is none of the load, which have %d at least", len(b), HeaderSize)
	}
	first := binary.LittleEndian.Uint64(b)
	return uint16(first), first >> 16, int64(binary.LittleEndian.Uint64(b[8:])), nil
}
