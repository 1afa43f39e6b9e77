package encoding_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"crier.local/api/encoding"
)

func TestJSON(t *testing.T) {
	type point struct{ X, Y int }
	b, err := encoding.JSON(point{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := encoding.FromJSON[point](b); err != nil || got != (point{1, 2}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := encoding.FromJSON[point]([]byte("{")); err == nil || !strings.Contains(err.Error(), "malformed encoding_test.point") {
		t.Errorf("half an object: %v", err)
	}
}

func TestProto(t *testing.T) {
	b, err := encoding.Proto(wrapperspb.String("x"))
	if err != nil {
		t.Fatal(err)
	}
	var got wrapperspb.StringValue
	if err := encoding.FromProto(b, &got); err != nil || got.Value != "x" {
		t.Errorf("got %v, %v", &got, err)
	}
	if err := encoding.FromProto([]byte{0xff}, &got); err == nil || !strings.Contains(err.Error(), "StringValue") {
		t.Errorf("half a tag: %v", err)
	}
}
