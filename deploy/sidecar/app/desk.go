package main

import (
	"context"
	"fmt"
	"log"

	"crier.local/api"
	"crier.local/client/notification"
)

// desk has orders without end, and gives every worker one at a time. An order is done
// when its worker says so; if that stays in doubt, it is done twice.
type desk struct {
	room *notification.Connection
	last int               // the number of the latest order
	back []string          // what was taken back, and goes out first
	has  map[string]string // what each worker that is here works on
}

// hear keeps count of who is here and what is done.
func (d *desk) hear(ctx context.Context, e api.Event) {
	switch e.Kind {
	case api.KindMembers: // now, and whenever the provider was lost: nothing before counts
		for worker := range d.has {
			d.takeBack(worker)
		}
		for _, m := range e.Members {
			d.welcome(ctx, m.Name)
		}
	case api.KindJoined:
		d.welcome(ctx, e.From)
	case api.KindLeft:
		log.Printf("%s left: %s", e.From, e.Reason)
		d.takeBack(e.From)
	case api.KindMessage:
		if order, here := d.has[e.From]; here && order == string(e.Payload) {
			log.Printf("order %s: done by %s", order, e.From)
			d.give(ctx, e.From)
		}
	}
}

func (d *desk) welcome(ctx context.Context, name string) {
	if name != deskName {
		log.Printf("%s is here", name)
		d.give(ctx, name)
	}
}

func (d *desk) takeBack(worker string) {
	if order, here := d.has[worker]; here {
		d.back = append(d.back, order)
		delete(d.has, worker)
	}
}

func (d *desk) give(ctx context.Context, worker string) {
	if len(d.back) == 0 {
		d.last++
		d.back = append(d.back, fmt.Sprint(d.last))
	}
	order := d.back[0]
	d.back, d.has[worker] = d.back[1:], order
	log.Printf("order %s: to %s", order, worker)
	tell(ctx, d.room, worker, order)
}
