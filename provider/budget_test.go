package provider

import (
	"testing"

	"pgregory.net/rapid"
)

// TestBudgetModel fills queues that are not full, in any order, and checks that
// the budget holds, and that whoever holds most is full as soon as any is.
func TestBudgetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit, most = 10000, 100
		b := &budget{limit: limit}
		queues := make([]int64, rapid.IntRange(1, 20).Draw(t, "queues"))
		b.members.Store(int64(len(queues)))
		for range 500 {
			i := rapid.IntRange(0, len(queues)-1).Draw(t, "queue")
			n := rapid.Int64Range(1, most).Draw(t, "bytes")
			urgent := rapid.Bool().Draw(t, "urgent")
			if rapid.IntRange(0, 9).Draw(t, "drain") == 0 {
				b.queued.Add(-queues[i])
				queues[i] = 0
			}
			if !b.full(queues[i], urgent) {
				queues[i] += n
				b.queued.Add(n)
			}
			largest, anyFull := int64(0), false
			for _, held := range queues {
				largest = max(largest, held)
				anyFull = anyFull || b.full(held, false)
			}
			if anyFull && !b.full(largest, false) {
				t.Fatal("one is full, but not the one that holds most")
			}
			// All may be just under the average when they get their last bytes.
			if sum := b.queued.Load(); sum > 2*limit+int64(len(queues))*most {
				t.Fatalf("%d bytes held, the limit is %d", sum, limit)
			}
		}
	})
}
