// Package encoding turns what a service passes around into the bytes that Crier
// carries, and back: JSON for convenience, protobuf for programs in several
// languages. A service may as well use bytes of its own.
package encoding

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// JSON returns v as JSON.
func JSON(v any) ([]byte, error) { return json.Marshal(v) }

// FromJSON returns the T that b holds as JSON. Its error is fit to be the answer
// to a call with bad arguments.
func FromJSON[T any](b []byte) (T, error) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("malformed %T: %w", v, err)
	}
	return v, nil
}

// Proto returns m in protobuf's encoding.
func Proto(m proto.Message) ([]byte, error) { return proto.Marshal(m) }

// FromProto reads into m what b holds in protobuf's encoding. Its error is fit to
// be the answer to a call with bad arguments.
func FromProto(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("malformed %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return nil
}
