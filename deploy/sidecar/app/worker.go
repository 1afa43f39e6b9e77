package main

import (
	"context"
	"log"
	"time"

	"crier.local/api"
	"crier.local/client/notification"
)

// work does what the desk orders, and says so.
func work(ctx context.Context, room *notification.Connection, e api.Event) {
	if e.Kind != api.KindMessage || e.From != deskName {
		return
	}
	order := string(e.Payload)
	log.Printf("order %s: begun", order)
	select {
	case <-time.After(3 * time.Second):
		tell(ctx, room, deskName, order)
	case <-ctx.Done():
	}
}
