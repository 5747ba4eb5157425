package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// attack is one request, or one connection, that must not get what it wants.
type attack struct {
	name string
	run  func() string
}

func (a attack) carryOut() { say(map[string]string{"attack": a.name, "answer": a.run()}) }

func attacks(at door) []attack {
	all := identities(at)
	all = append(all, paths(at)...)
	all = append(all, bodies(at)...)
	return append(all, heads(at)...)
}

// identities pretend to be the API server.
func identities(at door) []attack {
	forged := func(certificate *tls.Certificate) func() string {
		return func() string { return at.exchange(certificate, head("GET", at.path)) }
	}
	foreign := func(name string) func() string {
		return func() string {
			certificate, err := foreignCertificate(name)
			if err != nil {
				return err.Error()
			}
			return at.exchange(certificate, head("GET", at.path))
		}
	}
	stolen := at.frontProxy
	stolen.PrivateKey = at.user.PrivateKey
	return []attack{
		{"the front proxy itself", forged(&at.frontProxy)},
		{"forged headers without a certificate", forged(nil)},
		{"a certificate of another authority", foreign("somebody")},
		{"a certificate of another authority with the right name", foreign("front-proxy-client")},
		{"a certificate of the right authority with a wrong name", forged(&at.colleague)},
		{"a certificate of a user of the cluster", forged(&at.user)},
		{"the front proxy's certificate without its key", forged(&stolen)},
		{"the front proxy's certificate without a user", func() string {
			return at.exchange(&at.frontProxy, "GET "+at.path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}},
		{"plain HTTP", func() string { return at.plain(head("GET", at.path)) }},
	}
}

// paths mean another object to one reader than to the next.
func paths(at door) []attack {
	group, _, _ := strings.Cut(strings.TrimPrefix(at.path, "/apis/"), "/")
	get := func(path string) func() string {
		return func() string { return at.exchange(&at.frontProxy, head("GET", path)) }
	}
	return []attack{
		{"a path with dots", get("/apis/" + group + "/v1alpha1/../v1alpha1/restorepoints")},
		{"a path with escaped dots", get("/apis/" + group + "/v1alpha1/%2e%2e/v1alpha1/restorepoints")},
		{"a path with an escaped slash", get(at.path + "%2fdefault")},
		{"a path with an escaped letter", get(strings.Replace(at.path, "restore", "%72estore", 1))},
		{"a path with two slashes", get("/apis/" + group + "//v1alpha1/restorepoints")},
		{"a path with an escaped NUL", get(at.path + "%00")},
		{"a path with a NUL", get(at.path + "\x00")},
		{"a path with a line break", get(at.path + "\n")},
		{"a path with a backslash", get("/apis\\" + group + "/v1alpha1/restorepoints")},
		{"a path without a slash", get("restorepoints")},
		{"a path of 100 KiB", get(at.path + "/" + strings.Repeat("a", 100<<10))},
		{"a namespace of dots", get("/apis/" + group + "/v1alpha1/namespaces/../restorepoints")},
		{"a name with capitals", get("/apis/" + group + "/v1alpha1/namespaces/default/restorepoints/A")},
		{"an option that is given twice", get(at.path + "?limit=1&limit=2")},
		{"a token that is not ours", get(at.path + "?continue=x")},
	}
}

// bodies are not what they say, or not what anybody can read.
func bodies(at door) []attack {
	path := at.within("default")
	post := func(kind, body string) func() string {
		return func() string {
			length := fmt.Sprintf("Content-Length: %d", len(body))
			return at.exchange(&at.frontProxy, head("POST", path, "Content-Type: "+kind, length), body)
		}
	}
	const json = "application/json"
	large := strings.Repeat("x", 1<<20)
	return []attack{
		{"a body of 4 MiB", post(json, `{"a":"`+strings.Repeat(large, 4)+`"}`)},
		{"a body of 4 MiB in chunks", func() string {
			chunk := fmt.Sprintf("%x\r\n%s\r\n", len(large), large)
			return at.exchange(&at.frontProxy, head("POST", path, "Content-Type: "+json, "Transfer-Encoding: chunked"),
				chunk, chunk, chunk, chunk, "0\r\n\r\n")
		}},
		{"a body that ends early", post(json, `{"apiVersion":`)},
		{"a body that nests too deep", post(json, strings.Repeat("[", 100_000))},
		{"a body that is no UTF-8", post(json, "{\"a\":\"\xff\"}")},
		{"a body that is a list", post(json, `[]`)},
		{"no body", post(json, ``)},
		{"a body in protobuf", post("application/vnd.kubernetes.protobuf", "k8s\x00")},
		{"a body in plain text", post("text/plain", `{}`)},
		{"a body in YAML with an alias bomb", post("application/yaml", aliasBomb())},
		{"a body in YAML that says a long text again and again", post("application/yaml", repeatedText())},
		{"a body with keys of one name below a long one", post(json, keysOfOneName(20_000))},
		{"a body with half a million keys of one name", post(json, keysOfOneName(600_000))},
		{"a body with a million empty lists", post(json, `{"a":[`+strings.Repeat("[],", 1_000_000)+`[]]}`)},
		{"options of a deletion with half a million keys of one name", func() string {
			body := keysOfOneName(600_000)
			length := fmt.Sprintf("Content-Length: %d", len(body))
			return at.exchange(&at.frontProxy, head("DELETE", path+"/x", "Content-Type: "+json, length), body)
		}},
		{"an answer in XML", func() string {
			return at.exchange(&at.frontProxy, head("GET", at.path, "Accept: application/xml"))
		}},
	}
}

// heads are too long, or of two meanings.
func heads(at door) []attack {
	ask := func(method string, headers ...string) func() string {
		return func() string { return at.exchange(&at.frontProxy, head(method, at.path, headers...)) }
	}
	many := make([]string, 1_000)
	for number := range many {
		many[number] = fmt.Sprintf("X-Header-%d: x", number)
	}
	return []attack{
		{"a header of 100 KiB", ask("GET", "X-Long: "+strings.Repeat("x", 100<<10))},
		{"a thousand headers", ask("GET", many...)},
		{"a header with a NUL", ask("GET", "X-Nul: \x00")},
		{"two lengths", ask("POST", "Content-Length: 2", "Content-Length: 3")},
		{"a length and chunks", ask("POST", "Content-Length: 4", "Transfer-Encoding: chunked")},
		{"an encoding that nobody knows", ask("POST", "Transfer-Encoding: gibberish")},
		{"a method that nobody knows", ask("BREW")},
		{"a change of a list", ask("PUT", "Content-Length: 0")},
		{"a version of HTTP that nobody knows", func() string {
			return at.exchange(&at.frontProxy, "GET / HTTP/9.9\r\n\r\n")
		}},
	}
}

// idlers take a place and do nothing with it.
func idlers(at door) []attack {
	return []attack{
		{"a body that never comes", func() string {
			return at.exchange(&at.frontProxy, head("POST", at.within("default"), "Content-Type: application/json", "Content-Length: 100"), "{")
		}},
		{"a connection that says nothing", func() string { return at.plain("") }},
		{"a handshake that says no more", func() string { return at.exchange(&at.frontProxy) }},
		{"a handshake that stops in the middle", func() string { return at.plain("\x16\x03\x01\x02\x00\x01") }},
		{"a head that never ends", func() string {
			return at.exchange(&at.frontProxy, "GET "+at.path+" HTTP/1.1\r\nHost: localhost\r\nX-")
		}},
	}
}

// within is the path of the kind in one namespace.
func (d door) within(namespace string) string { return namespaced(d.path, namespace) }

func namespaced(path, namespace string) string {
	return strings.Replace(path, "/v1alpha1/", "/v1alpha1/namespaces/"+namespace+"/", 1)
}

// plain sends bytes as they are, without TLS.
func (d door) plain(bytes string) string {
	connection, err := d.dial()
	if err != nil {
		return absence(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return err.Error()
	}
	if _, err := connection.Write([]byte(bytes)); err != nil {
		return absence(err)
	}
	buffer := make([]byte, 512)
	read, err := connection.Read(buffer)
	// An alert of TLS is the last thing before the end.
	for err == nil {
		if strings.HasPrefix(string(buffer[:read]), "HTTP/") {
			return string(buffer[:read])
		}
		read, err = connection.Read(buffer)
	}
	return absence(err)
}

// foreignCertificate is signed by an authority that nobody knows.
func foreignCertificate(name string) (*tls.Certificate, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "another-authority"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, nil
}

// aliasBomb is small and unfolds to ten to the ninth.
func aliasBomb() string {
	var text strings.Builder
	text.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for level := 1; level < 9; level++ {
		below := fmt.Sprintf("*a%d", level-1)
		fmt.Fprintf(&text, "a%d: &a%d [%s]\n", level, level, strings.Join(repeat(below, 10), ","))
	}
	return text.String()
}

// keysOfOneName becomes gigabytes where each of them is named by its whole path.
func keysOfOneName(times int) string {
	return `{"` + strings.Repeat("k", 100<<10) + `":{` + strings.Repeat(`"":1,`, times) + `"":2}}`
}

// repeatedText is a quarter of a MiB and unfolds to a hundred times that.
func repeatedText() string {
	return "a: &a " + strings.Repeat("x", 256<<10) + "\nb: [" + strings.Repeat("*a,", 90) + "]\n"
}

func repeat(text string, times int) []string {
	all := make([]string, times)
	for index := range all {
		all[index] = text
	}
	return all
}
