package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// board is memory that all processes of a measurement share: the phase it is in,
// and how far each receiver has come with each publisher. It is how a publisher
// learns how far it is ahead without a word over the system that is measured.
type board struct {
	memory     []byte
	publishers int
	receivers  int
}

// Phases of a measurement.
const (
	warming uint64 = iota
	measuring
	stopping
)

// lineSize keeps what different processors write apart.
const lineSize = 64

func boardSize(publishers, receivers int) int {
	return lineSize * (1 + publishers*receivers)
}

// newBoard makes the file of a board, all zero.
func newBoard(path string, publishers, receivers int) (*board, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(int64(boardSize(publishers, receivers))); err != nil {
		return nil, err
	}
	return openBoard(path, publishers, receivers)
}

// openBoard maps a board that newBoard has made.
func openBoard(path string, publishers, receivers int) (*board, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, boardSize(publishers, receivers), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &board{memory, publishers, receivers}, nil
}

// close unmaps the board; nobody may use it any more.
func (b *board) close() error { return unix.Munmap(b.memory) }

func (b *board) word(line int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&b.memory[line*lineSize]))
}

// phase is the phase that the measurement is in.
func (b *board) phase() *atomic.Uint64 { return b.word(0) }

// taken is how many messages of a publisher a receiver has got, or slightly more.
func (b *board) taken(receiver, publisher int) *atomic.Uint64 {
	return b.word(1 + publisher*b.receivers + receiver)
}

// slowest returns how many messages of a publisher have reached every receiver but
// the one that is the publisher itself; -1 stands for none.
func (b *board) slowest(publisher, self int) uint64 {
	least := ^uint64(0)
	for r := range b.receivers {
		if r != self {
			least = min(least, b.taken(r, publisher).Load())
		}
	}
	return least
}

// sum returns how many messages all receivers have got together.
func (b *board) sum() uint64 {
	sum := uint64(0)
	for line := range b.publishers * b.receivers {
		sum += b.word(1 + line).Load()
	}
	return sum
}
