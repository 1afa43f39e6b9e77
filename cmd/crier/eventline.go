package main

import (
	"encoding/base64"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"crier.local/api"
)

// eventLine is an event as a line of JSON. Its fields are in the order in which
// the kinds of events show them.
type eventLine struct {
	Kind    string        `json:"kind"`
	Room    string        `json:"room"`
	From    string        `json:"from,omitempty"`
	To      string        `json:"to,omitempty"`
	UID     *uint32       `json:"uid,omitempty"`
	Seq     string        `json:"seq,omitempty"`
	Time    string        `json:"time,omitempty"`
	Text    *string       `json:"text,omitempty"`
	Base64  *string       `json:"base64,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Note    string        `json:"note,omitempty"`
	By      string        `json:"by,omitempty"`
	First   string        `json:"first,omitempty"`
	Last    string        `json:"last,omitempty"`
	Count   string        `json:"count,omitempty"`
	Epoch   string        `json:"epoch,omitempty"`
	Members *[]memberLine `json:"members,omitempty"`
	Error   string        `json:"error,omitempty"`
}

type memberLine struct {
	Name  string `json:"name"`
	UID   uint32 `json:"uid"`
	Since string `json:"since"`
}

func newEventLine(room string, e api.Event) eventLine {
	line := eventLine{Kind: e.Kind.String(), Room: room}
	switch e.Kind {
	case api.KindMessage:
		line.stamp(e)
		line.UID, line.To = &e.UID, e.To
		line.setPayload(e.Payload)
	case api.KindJoined:
		line.stamp(e)
		line.UID = &e.UID
	case api.KindLeft:
		line.stamp(e)
		line.UID, line.Reason, line.Note, line.By = &e.UID, e.Reason.String(), e.Note, e.By
	case api.KindRenamed:
		line.stamp(e)
		line.To = e.To
	case api.KindGap:
		line.First, line.Last, line.Count = seqText(e.First), seqText(e.Last), strconv.FormatUint(e.Count, 10)
	case api.KindReconnected:
		line.First, line.Last = seqText(e.First), seqText(e.Last)
	case api.KindRestarted:
		line.Epoch = e.Epoch.String()
	case api.KindMembers:
		line.setMembers(e.Members)
	}
	return line
}

// stamp sets what every numbered event has.
func (l *eventLine) stamp(e api.Event) {
	l.From, l.Seq, l.Time = e.From, seqText(e.Seq), timeText(e.Time)
}

func (l *eventLine) setPayload(payload []byte) {
	if utf8.Valid(payload) {
		l.Text = new(string(payload))
	} else {
		l.Base64 = new(base64.StdEncoding.EncodeToString(payload))
	}
}

func (l *eventLine) setMembers(members []api.Member) {
	lines := make([]memberLine, len(members))
	for i, m := range members {
		lines[i] = memberLine{Name: m.Name, UID: m.UID, Since: timeText(m.Since)}
	}
	l.Members = &lines
}

// newEndLine tells why a connection ended: a reason if the provider gave one, else
// the error.
func newEndLine(room string, err error) eventLine {
	line := eventLine{Kind: "end", Room: room}
	if e, ok := errors.AsType[*api.EvictedError](err); ok {
		line.Reason, line.Note = e.Reason.String(), e.Note
	} else {
		line.Error = err.Error()
	}
	return line
}

func seqText(s api.Seq) string { return strconv.FormatUint(uint64(s), 10) }

// timeText is RFC 3339 with all nine digits of the nanoseconds, in UTC.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z07:00") }
