package config

// TLSVersions are the TLS versions and ciphers that a server accepts.
type TLSVersions struct {
	// Lowest TLS version: `TLSv1_2` or `TLSv1_3`.
	TLSMinVersion string `json:"tlsMinVersion" env:"TLS_MIN_VERSION"`
	// Highest TLS version; empty = the newest.
	TLSMaxVersion string `json:"tlsMaxVersion" env:"TLS_MAX_VERSION"`
	// Cipher suites of TLS 1.2 by their IANA names; empty = a safe selection. Those of TLS 1.3 cannot be chosen.
	TLSCipherSuites []string `json:"tlsCipherSuites" env:"TLS_CIPHER_SUITES"`
}

// ServerTLS are the TLS settings of a server.
type ServerTLS struct {
	// Certificate of the server (PEM file); empty = general.tlsCertFile. The file is read again when it changes.
	TLSCertFile string `json:"tlsCertFile" env:"TLS_CERT_FILE"`
	// Key of the certificate (PEM file).
	TLSKeyFile string `json:"tlsKeyFile" env:"TLS_KEY_FILE"`
	TLSVersions
}

func defaultTLSVersions() TLSVersions { return TLSVersions{TLSMinVersion: "TLSv1_2"} }

func defaultServerTLS() ServerTLS { return ServerTLS{TLSVersions: defaultTLSVersions()} }
