package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// How long an attacker waits for an answer. Longer than the server's own patience with bodies, on a busy machine too.
	answerWithin = 90 * time.Second
	// Of thousands who come at once some must knock again, each time after twice as long.
	dialWithin = 30 * time.Second
)

// door is where the server listens, and the address that the attacker comes from.
type door struct {
	address string
	name    string
	roots   *x509.CertPool
	from    net.IP
	// What the API server shows.
	frontProxy tls.Certificate
	// Signed by the authority of the front proxy, with a name that is not its.
	colleague tls.Certificate
	// Signed by the authority of the cluster's users.
	user tls.Certificate
	path string
	// The list of a kind that has many large objects.
	large string
}

// runRude attacks the server in every way that it knows, while an honest client goes on asking.
func runRude(arguments []string) error {
	flags := flag.NewFlagSet("rude", flag.ExitOnError)
	address := flags.String("address", "", "HOST:PORT of the server")
	name := flags.String("server-name", "localhost", "the name in its certificate")
	authority := flags.String("authority", "", "file with the authority of its certificate")
	frontProxy := flags.String("front-proxy", "", "BASE of the files BASE.crt and BASE.key that the API server shows")
	colleague := flags.String("colleague", "", "the same of another name from the same authority")
	user := flags.String("user", "", "the same of a user of the cluster")
	from := flags.String("from", "127.0.0.2", "the address that the attacks come from")
	resource := flags.String("resource", "", "GROUP/VERSION/PLURAL")
	large := flags.String("large", "", "GROUP/VERSION/PLURAL of which there are many large objects")
	watches := flags.Int("watches", 10_000, "idle watches to ask for")
	readers := flags.Int("readers", 512, "readers who take nothing of what they ask for")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	pem, err := os.ReadFile(*authority)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", *authority)
	}
	at := door{
		address: *address, name: *name, roots: roots, from: net.ParseIP(*from),
		path: "/apis/" + *resource, large: "/apis/" + *large,
	}
	for base, into := range map[string]*tls.Certificate{
		*frontProxy: &at.frontProxy, *colleague: &at.colleague, *user: &at.user,
	} {
		if *into, err = tls.LoadX509KeyPair(base+".crt", base+".key"); err != nil {
			return err
		}
	}
	honest := startHonest(at)
	// These wait for the server's patience to end; the others go on meanwhile.
	var idle sync.WaitGroup
	for _, attack := range idlers(at) {
		idle.Go(attack.carryOut)
	}
	for _, attack := range attacks(at) {
		attack.carryOut()
	}
	for _, flood := range floods(at, *watches, *readers) {
		begun := time.Now()
		told, err := flood.run()
		if err != nil {
			return fmt.Errorf("%s: %w", flood.name, err)
		}
		say(map[string]any{"flood": flood.name, "told": told, "seconds": time.Since(begun).Seconds()})
	}
	idle.Wait()
	say(map[string]any{"honest": honest.stop()})
	return nil
}

func (d door) dial() (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: d.from}, Timeout: dialWithin}
	return dialer.Dial("tcp", d.address)
}

func (d door) config(certificate *tls.Certificate, protocol string) *tls.Config {
	config := &tls.Config{RootCAs: d.roots, ServerName: d.name, NextProtos: []string{protocol}}
	if certificate != nil {
		// Shown whatever authorities the server says it takes.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate, nil
		}
	}
	return config
}

func (d door) dialTLS(certificate *tls.Certificate, protocol string) (*tls.Conn, error) {
	plain, err := d.dial()
	if err != nil {
		return nil, err
	}
	secure := tls.Client(plain, d.config(certificate, protocol))
	if err := secure.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return nil, err
	}
	if err := secure.Handshake(); err != nil {
		plain.Close()
		return nil, err
	}
	return secure, nil
}

// exchange sends pieces of HTTP/1.1 as they are and reads the answer: its status, or how it stayed away.
func (d door) exchange(certificate *tls.Certificate, pieces ...string) string {
	connection, err := d.dialTLS(certificate, "http/1.1")
	if err != nil {
		return absence(err)
	}
	defer connection.Close()
	// The server may answer before it has read everything, so both go on side by side.
	go func() {
		for _, piece := range pieces {
			if _, err := io.WriteString(connection, piece); err != nil {
				return
			}
		}
	}()
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return absence(err)
	}
	defer answer.Body.Close()
	return fmt.Sprint(answer.StatusCode)
}

// absence is what there is instead of an answer.
func absence(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "nothing"
	}
	return "closed"
}

// head is the head of a request for which the front proxy would vouch.
func head(method, path string, headers ...string) string {
	lines := append([]string{
		method + " " + path + " HTTP/1.1", "Host: localhost",
		"X-Remote-User: admin", "X-Remote-Group: system:masters",
	}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}
