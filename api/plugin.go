package api

// A provider that another program starts, and its host, recognise each other by
// these. The cookie keeps people from starting such a provider by hand; it
// protects nothing.
const (
	PluginCookieKey   = "CRIER_PLUGIN"
	PluginCookieValue = "notify-7d57bd98321e94f2"
	// PluginName is what a host dispenses.
	PluginName = "crier"
	// PluginProtocol is the version that host and provider agree on at the start;
	// what they speak then is [WireVersion]'s business.
	PluginProtocol = 1
)

// EnvAddress names the environment variable from which clients take a provider's
// address; a host sets it for the processes that it starts beside the provider.
// EnvRunDir names the one that replaces [RunDirs].
const (
	EnvAddress = "CRIER_ADDRESS"
	EnvRunDir  = "CRIER_RUN_DIR"
)
