// Receives the gateway's webhooks and verifies their signatures. Needs Go 1.21 alone.
//
//	WEBHOOK_SECRET=whsec_... go run webhook_receiver.go
//
// verify is the part to copy: it takes the headers and the raw body. PORT (9000) and HOST
// (127.0.0.1) can be set. The scheme is https://www.standardwebhooks.com.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// How much a timestamp may differ from our clock. It bounds how long a copy can be replayed.
	tolerance = 5 * time.Minute
	// The gateway accepts results of up to 8 MiB from RunComfy.
	maxBody = 10 << 20
)

var (
	errSecret    = errors.New("WEBHOOK_SECRET must be the whsec_... secret of your tenant")
	errMalformed = errors.New("a header is missing or malformed")
	errTime      = errors.New("the timestamp is too old or too new")
	errSignature = errors.New("no signature matches")
	timestamps   = regexp.MustCompile(`^[0-9]{1,10}$`)
)

// decodeSecret returns the key of a whsec_... secret.
func decodeSecret(secret string) ([]byte, error) {
	encoded, found := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(key) == 0 {
		return nil, errSecret
	}
	return key, nil
}

// verify returns the webhook-id of a request that was signed with the key. With an error: do not
// use the body. It is exactly as received: parsed and serialized again, it would differ.
func verify(key []byte, headers http.Header, body []byte, now time.Time) (string, error) {
	for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
		if values := headers[name]; len(values) != 1 || values[0] == "" {
			return "", errMalformed
		}
	}
	id, timestamp := headers.Get("Webhook-Id"), headers.Get("Webhook-Timestamp")
	if !timestamps.MatchString(timestamp) {
		return "", errMalformed
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return "", errMalformed
	}
	if now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return "", errTime
	}
	signed := hmac.New(sha256.New, key)
	fmt.Fprintf(signed, "%s.%s.", id, timestamp)
	signed.Write(body)
	expected := []byte("v1," + base64.StdEncoding.EncodeToString(signed.Sum(nil)))
	// While a secret is being rotated there is one signature for each secret.
	for _, candidate := range strings.Fields(headers.Get("Webhook-Signature")) {
		// It takes the same time wherever the first difference is.
		if hmac.Equal(expected, []byte(candidate)) {
			return id, nil
		}
	}
	return "", errSignature
}

// event has the fields that this program prints.
type event struct {
	Type string `json:"type"`
	Data struct {
		RequestID string          `json:"request_id"`
		BatchID   string          `json:"batch_id"`
		Output    json.RawMessage `json:"output"`
	} `json:"data"`
}

type output struct {
	Video string `json:"video"`
}

// show is for your code. Return quickly: the gateway waits 20 seconds for the answer.
func show(body []byte) error {
	var got event
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	var made output
	_ = json.Unmarshal(got.Data.Output, &made) // Not every model makes a video.
	parts := []string{"verified", got.Type, got.Data.RequestID, got.Data.BatchID, made.Video}
	fmt.Println(strings.Join(strings.Fields(strings.Join(parts, " ")), " "))
	return nil
}

// receiver handles each event once. The gateway sends an event again, under the same id, if it did
// not see our 2xx. It remembers ids in memory; in production, insert the id into a table with a
// unique constraint, in the same transaction as the work: a restart then forgets nothing.
type receiver struct {
	key  []byte
	lock sync.Mutex
	seen map[string]bool
}

// receive returns the status to answer. Any other than 2xx makes the gateway retry.
func (r *receiver) receive(request *http.Request, body []byte) int {
	id, err := verify(r.key, request.Header, body, time.Now())
	if err != nil {
		fmt.Println("rejected:", err)
		return http.StatusUnauthorized
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.seen[id] {
		fmt.Println("duplicate", id)
		return http.StatusNoContent
	}
	if err := show(body); err != nil {
		fmt.Println("failed:", err)
		return http.StatusInternalServerError
	}
	r.seen[id] = true
	return http.StatusNoContent
}

func (r *receiver) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, maxBody))
	if err != nil {
		answer.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	answer.WriteHeader(r.receive(request, body))
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func run() error {
	key, err := decodeSecret(os.Getenv("WEBHOOK_SECRET"))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(setting("HOST", "127.0.0.1"), setting("PORT", "9000")))
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	routes := http.NewServeMux()
	routes.Handle("/hooks", &receiver{key: key, seen: map[string]bool{}})
	server := &http.Server{Handler: routes, ReadTimeout: 10 * time.Second}
	return server.Serve(listener)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
