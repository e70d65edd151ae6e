package dataplane

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// TLSPolicy is a set of protocol versions and ciphers.
type TLSPolicy struct {
	Name string
	// Min and Max are versions of package crypto/tls.
	Min, Max uint16
	// Ciphers are those up to TLS 1.2; the ciphers of TLS 1.3 cannot be chosen.
	Ciphers []uint16
}

// String tells a policy from others, be they of the same name.
func (p TLSPolicy) String() string {
	return fmt.Sprintf("%s %x-%x %x", p.Name, p.Min, p.Max, p.Ciphers)
}

// DefaultTLSPolicy is the policy of class alb when none is named (ALB-FACTS 2.2).
const DefaultTLSPolicy = "tls_cipher_policy_1_0"

// The cipher lists, as far as crypto/tls has what they name.
var (
	strictCiphers = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	}
	wideCiphers = append(slices.Clone(strictCiphers),
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
	)
	nginxCiphers = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
)

// nginxPolicy is what class nginx speaks (NGINX-FACTS 4).
var nginxPolicy = TLSPolicy{Name: "nginx", Min: tls.VersionTLS12, Max: tls.VersionTLS13, Ciphers: nginxCiphers}

// tlsPolicies are an ALB's system policies (ALB-FACTS 2.2).
var tlsPolicies = [...]TLSPolicy{
	{DefaultTLSPolicy, tls.VersionTLS10, tls.VersionTLS12, wideCiphers},
	{"tls_cipher_policy_1_1", tls.VersionTLS11, tls.VersionTLS12, wideCiphers},
	{"tls_cipher_policy_1_2", tls.VersionTLS12, tls.VersionTLS12, wideCiphers},
	{"tls_cipher_policy_1_2_strict", tls.VersionTLS12, tls.VersionTLS12, strictCiphers},
	{"tls_cipher_policy_1_2_strict_with_1_3", tls.VersionTLS12, tls.VersionTLS13, strictCiphers},
}

// TLSPolicies lists an ALB's system policies; the caller must not change their ciphers.
func TLSPolicies() []TLSPolicy { return slices.Clone(tlsPolicies[:]) }

// policyOf gives a policy by name; false, with the class's default, when there is none of that name.
func policyOf(class Class, name string) (TLSPolicy, bool) {
	if class == ClassNGINX {
		return nginxPolicy, name == "" || name == nginxPolicy.Name
	}
	for _, p := range tlsPolicies {
		if p.Name == name || name == "" {
			return p, true
		}
	}
	return tlsPolicies[0], false
}

// TLSInfoOf describes a session in the words of access logs: "TLSv1.2", and ciphers by the names of OpenSSL.
func TLSInfoOf(s tls.ConnectionState) *TLSInfo {
	return &TLSInfo{Version: versionName(s.Version), Cipher: cipherName(s.CipherSuite), ServerName: s.ServerName}
}

// versionName gives a protocol version as access logs write it.
func versionName(v uint16) string {
	if v == tls.VersionTLS10 {
		return "TLSv1"
	}
	return strings.Replace(tls.VersionName(v), "TLS ", "TLSv", 1)
}

// cipherName turns the standard name of a cipher into the one of OpenSSL: TLS 1.3 has the same in both, older ones
// drop prefixes and the WITH, and shorten the names of the algorithms.
func cipherName(id uint16) string {
	name := tls.CipherSuiteName(id)
	exchange, cipher, ok := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if !ok {
		return name
	}
	cipher = cipherWords.Replace(cipher)
	if exchange != "RSA" {
		cipher = strings.ReplaceAll(exchange, "_", "-") + "-" + cipher
	}
	return cipher
}

// cipherWords translates the second half of a cipher's name.
var cipherWords = strings.NewReplacer("AES_128", "AES128", "AES_256", "AES256", "3DES_EDE_CBC", "DES-CBC3", "_CBC", "",
	"CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", "_", "-")
