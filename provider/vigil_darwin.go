package provider

// vigil watches nothing here.
type vigil struct{}
