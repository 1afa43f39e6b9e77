package provider

import (
	"sync"

	"crier.local/api/wire"
)

// row is posts of one method on one resource that came one after the other, which
// are offered to the service together. A process's reader uses it.
type row struct {
	limit int // of a post, in bytes; what is larger is refused, by itself
	first wire.ClientEntry
	posts [][]byte
	cost  int64
}

const (
	// largePost is from how many bytes on a post is not worth a row.
	largePost = 16 << 10
	// longRow is from how many posts on another row begins: their number is the
	// client's, and each takes memory.
	longRow = 4 << 10
)

func rowable(e *wire.ClientEntry, limit int) bool {
	return e.Kind == wire.Invoke && e.Call == 0 && e.Handle != 0 && e.Timeout == 0 && len(e.Args) < min(largePost, limit)
}

// add continues the row with e, and reports false if e is not of it.
func (w *row) add(e *wire.ClientEntry) bool {
	f := &w.first
	switch {
	case !rowable(e, w.limit):
		return false
	case len(w.posts) == 0:
		*f = *e
		if w.posts == nil {
			w.posts = *spareRows.Get().(*[][]byte)
		}
	case len(w.posts) == longRow, e.Handle != f.Handle || e.Session != f.Session || e.Method != f.Method:
		return false
	}
	w.posts = append(w.posts, e.Args)
	w.cost += charge(len(e.Args))
	return true
}

// spareRows are slices for the posts of a row. A process needs one while there is a
// batch to be worked on.
var spareRows = sync.Pool{New: func() any { return new([][]byte) }}

// rest lets go of memory between two batches.
func (w *row) rest() {
	if spare := w.posts; spare != nil {
		w.first, w.posts = wire.ClientEntry{}, nil
		spareRows.Put(&spare)
	}
}

// endRow carries out the posts at hand. An error ends the stream.
func (proc *process) endRow() error {
	w := &proc.row
	posts, cost := w.posts, w.cost
	if len(posts) == 0 {
		return nil
	}
	defer clear(posts)
	w.posts, w.cost = posts[:0], 0
	s, r := proc.target(w.first.Session, w.first.Handle)
	if len(posts) == 1 || r == nil || s.service.poster == nil {
		for _, args := range posts {
			w.first.Args = args
			if err := proc.invoke(&w.first); err != nil {
				return err
			}
		}
		return nil
	}
	c := &proc.inline
	*c = Call{
		Session: s, Method: w.first.Method, Handle: w.first.Handle, Args: posts[0],
		posts: posts, resource: r, cost: cost,
	}
	if err := c.admit(); err != nil {
		return err
	}
	if err := proc.barred(); err != nil {
		c.answer(Result{}, err)
		return nil
	}
	if !s.service.handlePosts(c) {
		proc.offerEach(c, posts)
	}
	return nil
}

// offerEach offers posts that have been admitted one by one.
func (proc *process) offerEach(row *Call, posts [][]byte) {
	first := row.post
	for i, args := range posts {
		c := &proc.inline
		*c = Call{
			Session: row.Session, Method: row.Method, Handle: row.Handle, Args: args,
			post: first + uint64(i), resource: row.resource, cost: charge(len(args)),
		}
		proc.offer(c)
	}
}
