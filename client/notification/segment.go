package notification

import (
	"context"

	"crier.local/api"
	"crier.local/client"
)

// segment is a part of a connection's life that one attachment carries.
type segment struct {
	resource   *client.Resource
	attachment client.Attachment
	name       string
	seq        api.Seq // the highest of the room when it was opened
	limit      int     // of payloads, in bytes
	again      bool    // it is not the first
}

// reopen opens the connection again, if its link was lost.
func (x *Connection) reopen(ctx context.Context) error {
	old, o := x.former(ctx)
	if old == nil {
		return nil
	}
	if err := old.Err(); !lost(err) {
		if err != nil {
			x.finish(err)
		}
		return nil
	}
	seg, err := x.client.connect(ctx, o)
	if err != nil {
		return err
	}
	if !x.resume(ctx, old, seg) {
		return seg.resource.Close()
	}
	return nil
}

// former returns the resource of the last segment, and what is to be asked for;
// nil if the connection is not to be reopened.
func (x *Connection) former(ctx context.Context) (*client.Resource, api.Connect) {
	if x.naming.take(ctx) == nil {
		defer x.naming.leave()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.overLocked() != nil {
		return nil, api.Connect{}
	}
	return x.last.resource, x.asked
}

// resume continues the connection with seg, unless it has ended meanwhile. What
// became of the posts on old is kept for Flush in the same step: who closes x
// finds it in one of the two.
func (x *Connection) resume(ctx context.Context, old *client.Resource, seg *segment) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.overLocked() != nil {
		return false
	}
	seg.again = true
	x.last, x.name = seg, seg.name
	if !x.asked.SendOnly {
		x.coming = append(x.coming, seg)
	}
	report, missing := old.Flush(ctx) // it is over: this does not wait
	x.unsaid = sum(x.unsaid, report)
	if x.missing == nil {
		x.missing = missing
	}
	x.limit.Store(int64(seg.limit))
	x.changeLocked(seg.resource)
	return true
}
