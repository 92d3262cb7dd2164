package dns

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/coredns/caddy/caddyfile"
)

// checkPorts finds out whether the ports of a Corefile are free. CoreDNS opens
// them with SO_REUSEPORT, so a second server of the same user would start
// without an error and take half of the queries of the first.
func checkPorts(corefile string) error {
	blocks, err := caddyfile.Parse("Corefile", strings.NewReader(corefile), nil)
	if err != nil {
		return fmt.Errorf("read Corefile: %w", err)
	}
	if len(blocks) == 0 {
		return errors.New("read Corefile: it has no server block")
	}
	seen := map[string]bool{}
	for _, b := range blocks {
		hosts := bindHosts(b.Tokens["bind"])
		for _, key := range b.Keys {
			port := portOfKey(key)
			for _, host := range hosts {
				addr := net.JoinHostPort(host, port)
				if port == "" || port == "0" || seen[addr] {
					continue
				}
				seen[addr] = true
				if err := checkFree(addr, "tcp", "udp"); err != nil {
					return err
				}
			}
		}
		if m := b.Tokens["prometheus"]; len(m) > 1 && m[1].Text != "{" && !seen[m[1].Text] {
			seen[m[1].Text] = true
			if err := checkFree(m[1].Text, "tcp"); err != nil {
				return err
			}
		}
	}
	return nil
}

// bindHosts lists the addresses of bind lines; names of interfaces are left to
// CoreDNS.
func bindHosts(tokens []caddyfile.Token) []string {
	var hosts []string
	for _, t := range tokens {
		if net.ParseIP(t.Text) != nil {
			hosts = append(hosts, t.Text)
		}
	}
	if len(tokens) == 0 {
		return []string{""}
	}
	return hosts
}

// portOfKey returns the port of a key such as "dns://example.org:1053"; empty
// if it has none or serves something else than plain DNS.
func portOfKey(key string) string {
	if scheme, rest, ok := strings.Cut(key, "://"); ok {
		if scheme != "dns" {
			return ""
		}
		key = rest
	}
	i := strings.LastIndex(key, ":")
	if i < 0 || strings.ContainsAny(key[i:], "]/") {
		return ""
	}
	return key[i+1:]
}

func checkFree(addr string, networks ...string) error {
	for _, network := range networks {
		var err error
		if network == "tcp" {
			var l net.Listener
			if l, err = net.Listen(network, addr); err == nil {
				err = l.Close()
			}
		} else {
			var p net.PacketConn
			if p, err = net.ListenPacket(network, addr); err == nil {
				err = p.Close()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
