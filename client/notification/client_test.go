package notification

import (
	"errors"
	"testing"

	"crier.local/api"
	"crier.local/client"
	service "crier.local/provider/notification"
)

func TestSharedAttachment(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		attached, err := client.Dial(h.ctx, h.street.options())
		if err != nil {
			t.Fatal(err)
		}
		defer attached.Close()
		first, second := New(attached), New(attached)
		a, b := h.connectBy(first, api.Connect{}), h.connectBy(second, api.Connect{})
		h.send(a, "hi")
		h.hears(b, "hi")
		first.Close()
		h.connectBy(second, api.Connect{})
		if err := attached.Ping(h.ctx); err != nil {
			t.Errorf("closed with its user: %v", err)
		}
		attached.Close()
		_, err = b.Receive(h.ctx)
		h.want(err, api.ErrClosed)
		second.Close()
	})
}

func TestOldProvider(t *testing.T) {
	everywhere(t, func(t *testing.T, h *house) {
		old := api.Selector{UUID: api.NotificationUUID, Major: 1}
		h.restart(old, service.Options{})
		a, b := h.connect(api.Connect{}), h.connect(api.Connect{})
		h.send(a, "hi")
		h.hears(b, "hi")
		for name, err := range map[string]error{
			"room":     second(a.client.Connect(h.ctx, api.Connect{Room: "r"})),
			"presence": second(a.client.Connect(h.ctx, api.Connect{Presence: true})),
			"sendto":   second(a.SendTo(h.ctx, "x", nil)),
			"rename":   a.Rename(h.ctx, "x"),
			"who":      second(a.client.Who(h.ctx, "")),
		} {
			if refusal, ok := errors.AsType[*api.VersionError](err); !ok || refusal.Provided != old {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := a.CloseWith(api.ReasonDied, "as far as it goes"); err != nil {
			t.Error(err)
		}
	})
}
