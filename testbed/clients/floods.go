package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

const (
	silentConnections = 2_000
	strangers         = 500
	// Streams of one connection, well below what a server of Kubernetes allows.
	watchesPerConnection = 500
	// Enough that not the share of each bounds them, but what there is for all.
	watchUsers        = 12
	resets            = 50_000
	continuationBytes = 64 << 20
	// Bounds for what does not come at all: a busy machine is not what is tried here.
	openWithin   = 180 * time.Second
	placeWithin  = 60 * time.Second
	honestWithin = 30 * time.Second
)

// flood takes as much as the server gives.
type flood struct {
	name string
	run  func() (map[string]int64, error)
}

func floods(at door, watches, readers int) []flood {
	return []flood{
		{"connections that say nothing", func() (map[string]int64, error) { return silence(at) }},
		{"strangers who stay", func() (map[string]int64, error) { return linger(at) }},
		{"idle watches", func() (map[string]int64, error) { return watchIdly(at, watches) }},
		{"readers who take nothing", func() (map[string]int64, error) { return takeNothing(at, readers) }},
		{"many large bodies at once", func() (map[string]int64, error) { return sendLarge(at) }},
		{"slow bodies", func() (map[string]int64, error) { return sendSlowly(at) }},
		{"requests that are taken back", func() (map[string]int64, error) { return takeBack(at) }},
		{"a head without an end", func() (map[string]int64, error) { return continueForever(at) }},
	}
}

// silence opens connections and waits until each of them was closed.
func silence(at door) (map[string]int64, error) {
	var closed, kept atomic.Int64
	var all sync.WaitGroup
	for range silentConnections {
		all.Go(func() {
			if at.plain("") == "closed" {
				closed.Add(1)
			} else {
				kept.Add(1)
			}
		})
	}
	all.Wait()
	return map[string]int64{"closed": closed.Load(), "kept": kept.Load()}, nil
}

// linger asks what everybody may ask and keeps the connections.
func linger(at door) (map[string]int64, error) {
	var served, refused atomic.Int64
	var all sync.WaitGroup
	held := make(chan net.Conn, strangers)
	for range strangers {
		all.Go(func() {
			connection, err := at.dialTLS(nil, "http/1.1")
			if err != nil {
				refused.Add(1)
				return
			}
			held <- connection
			if _, err := io.WriteString(connection, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				refused.Add(1)
				return
			}
			if read, err := connection.Read(make([]byte, 512)); err != nil || read == 0 {
				refused.Add(1)
				return
			}
			served.Add(1)
		})
	}
	all.Wait()
	close(held)
	var connections []net.Conn
	for connection := range held {
		connections = append(connections, connection)
		defer connection.Close()
	}
	return map[string]int64{"served": served.Load(), "refused": refused.Load(), "open": countOpen(connections)}, nil
}

// countOpen counts until no more of them end: whom the server has shown out it closes in its own time.
func countOpen(connections []net.Conn) int64 {
	before := len(connections)
	for {
		time.Sleep(time.Second)
		var open []net.Conn
		for _, connection := range connections {
			if isOpen(connection) {
				open = append(open, connection)
			}
		}
		if len(open) == before {
			return int64(len(open))
		}
		connections, before = open, len(open)
	}
}

// isOpen reads what is left of the answer, and on: there is no more to come, or there was an end.
func isOpen(connection net.Conn) bool {
	if err := connection.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		return false
	}
	_, err := io.Copy(io.Discard, connection)
	return err != nil && absence(err) == "nothing"
}

// transport speaks HTTP/2 over connections of its own, from an address.
func transport(at door, from net.IP) *http2.Transport {
	at.from = from
	return &http2.Transport{
		TLSClientConfig:            at.config(&at.frontProxy, "h2"),
		StrictMaxConcurrentStreams: true,
		DialTLSContext: func(ctx context.Context, _, _ string, config *tls.Config) (net.Conn, error) {
			plain, err := at.dial()
			if err != nil {
				return nil, err
			}
			secure := tls.Client(plain, config)
			return secure, secure.HandshakeContext(ctx)
		},
	}
}

// ask is a request for which the front proxy vouches.
func ask(ctx context.Context, at door, user, query string) (*http.Request, error) {
	asked, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+at.address+at.path+query, nil)
	if err != nil {
		return nil, err
	}
	asked.Header.Set("X-Remote-User", user)
	asked.Header.Set("X-Remote-Group", "system:masters")
	return asked, nil
}

func newest(at door, asker *http2.Transport) (string, error) {
	asked, err := ask(context.Background(), at, "admin", "?limit=1")
	if err != nil {
		return "", err
	}
	answer, err := asker.RoundTrip(asked)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	err = json.NewDecoder(answer.Body).Decode(&list)
	return list.Metadata.ResourceVersion, err
}

// watchIdly opens watches of which nothing will ever come, of many users, counts who is let in, then and afterwards, and
// gives all of them up.
func watchIdly(at door, watches int) (map[string]int64, error) {
	first := transport(at, at.from)
	version, err := newest(at, first)
	if err != nil {
		return nil, err
	}
	query := "?watch=1&allowWatchBookmarks=true&resourceVersion=" + version
	var opened, refused, without, other, tried atomic.Int64
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	timer := time.AfterFunc(openWithin, giveUp)
	var transports []*http2.Transport
	for begin := 0; begin < watches; begin += watchesPerConnection {
		asker := transport(at, at.from)
		transports = append(transports, asker)
		// One connection after the other: it is not the haste that is tried here.
		var answered sync.WaitGroup
		for number := begin; number < min(begin+watchesPerConnection, watches); number++ {
			answered.Go(func() {
				tried.Add(1)
				asked, err := ask(ctx, at, fmt.Sprintf("watcher-%d", number%watchUsers), query)
				if err != nil {
					other.Add(1)
					return
				}
				answer, err := asker.RoundTrip(asked)
				switch {
				case err != nil:
					other.Add(1)
				case answer.StatusCode == http.StatusOK:
					opened.Add(1)
				case answer.StatusCode == http.StatusTooManyRequests && answer.Header.Get("Retry-After") == "":
					without.Add(1)
				case answer.StatusCode == http.StatusTooManyRequests:
					refused.Add(1)
				default:
					other.Add(1)
				}
			})
		}
		answered.Wait()
	}
	timer.Stop()
	newcomer, err := openOne(ctx, at, first, "newcomer", query)
	if err != nil {
		return nil, err
	}
	controller, err := openOne(ctx, at, first, "system:kube-controller-manager", query)
	if err != nil {
		return nil, err
	}
	giveUp()
	for _, asker := range transports {
		asker.CloseIdleConnections()
	}
	again, err := placeAgain(at, first, query)
	if err != nil {
		return nil, err
	}
	return map[string]int64{
		"tried": tried.Load(), "opened": opened.Load(), "refused": refused.Load(),
		"refusedWithoutDelay": without.Load(), "other": other.Load(), "openedAgain": again,
		"newcomer": newcomer, "controller": controller,
	}, nil
}

// openOne opens a watch, which lasts as long as its context, and says whether it was let in.
func openOne(ctx context.Context, at door, asker *http2.Transport, user, query string) (int64, error) {
	asked, err := ask(ctx, at, user, query)
	if err != nil {
		return 0, err
	}
	answer, err := asker.RoundTrip(asked)
	if err == nil && answer.StatusCode == http.StatusOK {
		return 1, nil
	}
	return 0, nil
}

// placeAgain opens one more watch once the others are given up.
func placeAgain(at door, asker *http2.Transport, query string) (int64, error) {
	for until := time.Now().Add(placeWithin); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithCancel(context.Background())
		opened, err := openOne(ctx, at, asker, "admin", query)
		cancel()
		if err != nil || opened > 0 {
			return opened, err
		}
	}
	return 0, nil
}

// takeBack opens streams and resets each before it is answered.
func takeBack(at door) (map[string]int64, error) {
	opened, err := openFrames(at)
	if err != nil {
		return nil, err
	}
	defer opened.connection.Close()
	sent := int64(0)
	for number := range resets {
		id := uint32(2*number + 1)
		headers := http2.HeadersFrameParam{StreamID: id, BlockFragment: opened.head, EndHeaders: true, EndStream: true}
		if opened.framer.WriteHeaders(headers) != nil || opened.framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break
		}
		sent++
	}
	return map[string]int64{"sent": sent, "ended": wait(opened.ended)}, nil
}

// frameConnection is a connection that frames are written to one by one.
type frameConnection struct {
	framer     *http2.Framer
	connection net.Conn
	head       []byte
	ended      <-chan struct{}
}

func openFrames(at door) (frameConnection, error) {
	head, err := headerBlock(at.path, "admin")
	if err != nil {
		return frameConnection{}, err
	}
	framer, connection, err := openFramer(at)
	if err != nil {
		return frameConnection{}, err
	}
	return frameConnection{framer: framer, connection: connection, head: head, ended: readUntilEnd(framer)}, nil
}

// continueForever sends a head that goes on in frame after frame.
func continueForever(at door) (map[string]int64, error) {
	opened, err := openFrames(at)
	if err != nil {
		return nil, err
	}
	defer opened.connection.Close()
	if err := opened.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: opened.head, EndStream: true}); err != nil {
		return nil, err
	}
	piece := make([]byte, 16<<10)
	// A literal header without an index and without end: name and value of which more and more comes.
	copy(piece, []byte{0x00, 0x7f, 0xff, 0xff, 0xff, 0x07})
	sent := int64(0)
	for sent < continuationBytes {
		if opened.framer.WriteContinuation(1, false, piece) != nil {
			break
		}
		sent += int64(len(piece))
	}
	return map[string]int64{"sent": sent, "ended": wait(opened.ended)}, nil
}

func openFramer(at door) (*http2.Framer, net.Conn, error) {
	connection, err := at.dialTLS(&at.frontProxy, "h2")
	if err != nil {
		return nil, nil, err
	}
	if _, err := io.WriteString(connection, http2.ClientPreface); err != nil {
		return nil, nil, err
	}
	framer := http2.NewFramer(connection, connection)
	return framer, connection, framer.WriteSettings()
}

// readUntilEnd reads what comes, so that the peer is never held up by us, until the connection ends.
func readUntilEnd(framer *http2.Framer) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := framer.ReadFrame(); err != nil {
				return
			}
		}
	}()
	return ended
}

func wait(ended <-chan struct{}) int64 {
	select {
	case <-ended:
		return 1
	case <-time.After(placeWithin):
		return 0
	}
}

// honest is the API server going about its business: over the connection it has, and over new ones. What it writes is
// small, and tried only.
type honest struct {
	done   chan struct{}
	over   sync.WaitGroup
	kept   record
	anew   record
	writes record
}

type record struct {
	Requests int    `json:"requests"`
	Failed   int    `json:"failed"`
	Failure  string `json:"failure"`
	// What half of them took, what all but the slowest of a hundred, and the slowest.
	Median       int64 `json:"median"`
	Milliseconds int64 `json:"milliseconds"`
	Slowest      int64 `json:"slowest"`
	took         []time.Duration
}

// sum reckons what is told of all requests.
func (r record) sum() record {
	slices.Sort(r.took)
	r.Requests = len(r.took)
	if r.Requests > 0 {
		r.Median = r.took[r.Requests/2].Milliseconds()
		r.Milliseconds = r.took[(r.Requests*99+99)/100-1].Milliseconds()
		r.Slowest = r.took[r.Requests-1].Milliseconds()
	}
	return r
}

func startHonest(at door) *honest {
	at.from = net.IPv4(127, 0, 0, 1)
	client := &honest{done: make(chan struct{})}
	kept := transport(at, at.from)
	client.over.Go(func() { client.goOn(&client.kept, func() error { return askOnce(at, kept) }) })
	client.over.Go(func() { client.goOn(&client.writes, func() error { return writeOnce(at, kept) }) })
	client.over.Go(func() {
		client.goOn(&client.anew, func() error {
			asker := transport(at, at.from)
			defer asker.CloseIdleConnections()
			return askOnce(at, asker)
		})
	})
	return client
}

func (h *honest) goOn(into *record, once func() error) {
	for {
		select {
		case <-h.done:
			return
		case <-time.After(50 * time.Millisecond):
			begun := time.Now()
			if err := once(); err != nil {
				into.Failed++
				into.Failure = err.Error()
			}
			into.took = append(into.took, time.Since(begun))
		}
	}
}

func askOnce(at door, asker *http2.Transport) error {
	ctx, cancel := context.WithTimeout(context.Background(), honestWithin)
	defer cancel()
	asked, err := ask(ctx, at, "honest", "?limit=5")
	if err != nil {
		return err
	}
	return expect(http.StatusOK, asker, asked)
}

func writeOnce(at door, asker *http2.Transport) error {
	ctx, cancel := context.WithTimeout(context.Background(), honestWithin)
	defer cancel()
	const action = `{"metadata":{"generateName":"honest-"},"spec":{"subject":{"name":"default","namespace":"default"}}}`
	path := namespaced(at.large, "default") + "?dryRun=All"
	asked, err := post(ctx, at, "honest", path, strings.NewReader(action))
	if err != nil {
		return err
	}
	return expect(http.StatusCreated, asker, asked)
}

// expect reads the whole answer, which must be of one status.
func expect(status int, asker *http2.Transport, asked *http.Request) error {
	answer, err := asker.RoundTrip(asked)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != status {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	return nil
}

func (h *honest) stop() map[string]record {
	close(h.done)
	h.over.Wait()
	return map[string]record{"kept": h.kept.sum(), "anew": h.anew.sum(), "writes": h.writes.sum()}
}
