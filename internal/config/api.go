package config

// APIServer are the settings of the HTTP API and the GUI.
type APIServer struct {
	HTTP  APIServerHTTP  `json:"http" env:"HTTP"`
	HTTPS APIServerHTTPS `json:"https" env:"HTTPS"`
	Auth  APIServerAuth  `json:"auth" env:"AUTH"`
	Authn APIServerAuthn `json:"authn" env:"AUTHN"`
	// If true, the API changes no objects; tokens can still be issued.
	ReadOnly bool `json:"readOnly" env:"READ_ONLY"`
	// Web origins whose pages may call the API from a browser, such as `https://dash.example.com`; `.*` = all.
	CORSAllowedDomains []string `json:"corsAllowedDomains" env:"CORS_ALLOWED_DOMAINS"`
	// URL under which the API is reached from outside, if a reverse proxy stands before it.
	RootURL string `json:"rootUrl" env:"ROOT_URL"`
	// Path below which the API lies.
	BasePath string `json:"basePath" env:"BASE_PATH"`
	GUI      GUI    `json:"gui" env:"GUI"`
}

// APIServerHTTP is the API's port without TLS.
type APIServerHTTP struct {
	// If true, the API is served without TLS.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// IP address to listen on.
	Interface string `json:"interface" env:"INTERFACE"`
	// Port to listen on.
	Port int `json:"port" env:"PORT"`
}

// APIServerHTTPS is the API's port with TLS.
type APIServerHTTPS struct {
	// If true, the API is served with TLS.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// IP address to listen on.
	Interface string `json:"interface" env:"INTERFACE"`
	// Port to listen on.
	Port int `json:"port" env:"PORT"`
	// Certificate authorities of client certificates (PEM file), in addition to auth.clientCertsDir.
	TLSCAFile string `json:"tlsCaFile" env:"TLS_CA_FILE"`
	ServerTLS
	// If true, callers without a trusted client certificate are refused.
	RequireClientCert bool `json:"requireClientCert" env:"REQUIRE_CLIENT_CERT"`
}

// APIServerAuth belongs to the older authentication by client certificates.
type APIServerAuth struct {
	// Folder with certificates (*.pem, *.crt) whose holders are administrators under authn.type adminClientCerts.
	ClientCertsDir string `json:"clientCertsDir" env:"CLIENT_CERTS_DIR"`
}

// Values of APIServerAuthn.Type.
const (
	AuthnTokens           = "tokens"
	AuthnAdminClientCerts = "adminClientCerts"
)

// APIServerAuthn says how callers of the API prove who they are.
type APIServerAuthn struct {
	// `tokens` (user tokens) or `adminClientCerts` (deprecated: whoever has a trusted client certificate is an administrator).
	Type string `json:"type" env:"TYPE"`
	// If true, every caller on the same host is an administrator without any proof. Behind a reverse proxy on that host, this means everybody.
	LocalhostIsAdmin bool                 `json:"localhostIsAdmin" env:"LOCALHOST_IS_ADMIN"`
	Tokens           APIServerAuthnTokens `json:"tokens" env:"TOKENS"`
}

// APIServerAuthnTokens are the settings of user tokens.
type APIServerAuthnTokens struct {
	// If true, a token of the administrator is made at the first start: GlobalSecret admin-user-token, and the file admin-token in general.workDir.
	BootstrapAdminToken bool `json:"bootstrapAdminToken" env:"BOOTSTRAP_ADMIN_TOKEN"`
	// If true, the control plane issues user tokens.
	EnableIssuer bool          `json:"enableIssuer" env:"ENABLE_ISSUER"`
	Validator    UserValidator `json:"validator" env:"VALIDATOR"`
}

// UserValidator says which keys verify user tokens.
type UserValidator struct {
	// If true, tokens signed with the signing keys among the GlobalSecrets are accepted.
	UseSecrets bool `json:"useSecrets" env:"USE_SECRETS"`
	// Further keys, for tokens that are issued without the control plane.
	PublicKeys []PublicKey `json:"publicKeys"`
}

// PublicKey verifies tokens that were issued without the control plane.
type PublicKey struct {
	// Key id that tokens name in their header.
	KID string `json:"kid"`
	// RSA public key as PEM text.
	Key string `json:"key,omitempty"`
	// RSA public key as PEM file.
	KeyFile string `json:"keyFile,omitempty"`
}

// GUI are the settings of the web interface.
type GUI struct {
	// If true, the GUI is served.
	Enabled bool `json:"enabled" env:"ENABLED"`
	// URL under which the GUI is reached from outside; empty = basePath on the same host.
	RootURL string `json:"rootUrl" env:"ROOT_URL"`
	// Path of the GUI.
	BasePath string `json:"basePath" env:"BASE_PATH"`
}

func defaultAPIServer() APIServer {
	return APIServer{
		// Deliberately narrower than 2.10 (0.0.0.0): what goes over the network is encrypted.
		HTTP:  APIServerHTTP{Enabled: true, Interface: "127.0.0.1", Port: 5681},
		HTTPS: APIServerHTTPS{Enabled: true, Interface: "0.0.0.0", Port: 5682, ServerTLS: defaultServerTLS()},
		Authn: APIServerAuthn{
			Type: AuthnTokens,
			Tokens: APIServerAuthnTokens{
				BootstrapAdminToken: true,
				EnableIssuer:        true,
				Validator:           UserValidator{UseSecrets: true},
			},
		},
		BasePath: "/",
		GUI:      GUI{Enabled: true, BasePath: "/gui"},
	}
}
