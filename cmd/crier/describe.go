package main

import (
	"fmt"
	"strings"

	"crier.local/api"
)

// describe tells the person who goes by self of an event other than a message.
func describe(e api.Event, self string) string {
	switch e.Kind {
	case api.KindJoined:
		return e.From + " joined"
	case api.KindLeft:
		return e.From + " left: " + departure(e)
	case api.KindRenamed:
		return e.From + " is now " + e.To
	case api.KindGap:
		return fmt.Sprintf("%s missed, between %d and %d", count(e.Count, "event"), e.First, e.Last)
	case api.KindMembers:
		return others(e.Members, self)
	case api.KindReconnected:
		if e.Last < e.First {
			return "reconnected, nothing was missed"
		}
		return fmt.Sprintf("reconnected; what was sent as %d to %d may have been missed", e.First, e.Last)
	case api.KindRestarted:
		return "the provider was restarted; what was sent meanwhile is lost"
	default:
		return e.Kind.String()
	}
}

// departure says why someone left, and who says so.
func departure(e api.Event) string {
	text := e.Reason.String()
	if e.Note != "" {
		text += ", " + e.Note
	}
	if e.By != "" {
		text += " (says " + e.By + ")"
	}
	return text
}

func others(members []api.Member, self string) string {
	var list []string
	for _, m := range members {
		if m.Name != self {
			list = append(list, m.Name)
		}
	}
	if len(list) == 0 {
		return "nobody else is here"
	}
	return "here now: " + strings.Join(list, ", ")
}

// count puts a number before a noun that takes an s.
func count[N int | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
