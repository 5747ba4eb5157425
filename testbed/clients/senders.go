package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	// The largest body that the server takes.
	bodyBytes           = 3 << 20
	largeBodies         = 128
	slowBodies          = 128
	bodiesPerConnection = 16
	// Who sends much is a few people, not one.
	senderUsers = 4
	// Shorter than the server's patience with bodies, so that who is read still is when these give up.
	slowFor = 10 * time.Second
	// A slow body comes so, a byte at a time.
	slowStep = 250 * time.Millisecond
)

// sendLarge sends bodies as large as there may be, all at once. Of every fourth the server has to make much.
func sendLarge(at door) (map[string]int64, error) {
	text := []byte(`{"a":"` + strings.Repeat("x", bodyBytes-8) + `"}`)
	lists := []byte(`{"a":[` + strings.Repeat("[],", bodyBytes/3-4) + `[]]}`)
	return sendAll(at, largeBodies, openWithin, func(_ context.Context, number int) io.Reader {
		if number%4 == 0 {
			return bytes.NewReader(lists)
		}
		return bytes.NewReader(text)
	})
}

// sendSlowly says of each body that it is large and sends next to nothing of it.
func sendSlowly(at door) (map[string]int64, error) {
	return sendAll(at, slowBodies, slowFor, func(ctx context.Context, _ int) io.Reader { return trickle{ctx} })
}

// trickle is a body that comes for as long as somebody waits for it.
type trickle struct{ ctx context.Context }

func (t trickle) Read(into []byte) (int, error) {
	select {
	case <-t.ctx.Done():
		return 0, t.ctx.Err()
	case <-time.After(slowStep):
		into[0] = ' '
		return 1, nil
	}
}

// sendAll sends all bodies at once and counts how they are answered. Those that are not in time are still being read.
func sendAll(at door, count int, patience time.Duration, body func(context.Context, int) io.Reader) (map[string]int64, error) {
	told := map[string]int64{"judged": 0, "refused": 0, "refusedWithoutDelay": 0, "read": 0, "other": 0}
	var lock sync.Mutex
	ctx, giveUp := context.WithTimeout(context.Background(), patience)
	defer giveUp()
	var all sync.WaitGroup
	for begin := 0; begin < count; begin += bodiesPerConnection {
		sender := transport(at, at.from)
		defer sender.CloseIdleConnections()
		for number := begin; number < min(begin+bodiesPerConnection, count); number++ {
			all.Go(func() {
				outcome := sendOne(ctx, at, sender, number, body(ctx, number))
				lock.Lock()
				defer lock.Unlock()
				told[outcome]++
			})
		}
	}
	all.Wait()
	return told, nil
}

func sendOne(ctx context.Context, at door, sender *http2.Transport, number int, body io.Reader) string {
	asked, err := post(ctx, at, fmt.Sprintf("sender-%d", number%senderUsers), at.within("default"), body)
	if err != nil {
		return "other"
	}
	if asked.ContentLength <= 0 {
		asked.ContentLength = bodyBytes
	}
	answer, err := sender.RoundTrip(asked)
	if err != nil {
		if ctx.Err() != nil {
			return "read"
		}
		return "other"
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusBadRequest || answer.StatusCode == http.StatusRequestEntityTooLarge:
		return "judged"
	case answer.StatusCode == http.StatusTooManyRequests && answer.Header.Get("Retry-After") == "":
		return "refusedWithoutDelay"
	case answer.StatusCode == http.StatusTooManyRequests:
		return "refused"
	default:
		return "other"
	}
}

// post is a request with a body for which the front proxy vouches.
func post(ctx context.Context, at door, user, path string, body io.Reader) (*http.Request, error) {
	asked, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+at.address+path, body)
	if err != nil {
		return nil, err
	}
	asked.Header.Set("X-Remote-User", user)
	asked.Header.Set("X-Remote-Group", "system:masters")
	asked.Header.Set("Content-Type", "application/json")
	return asked, nil
}
