// Submit one request and wait for its result, without paying twice. Needs Go 1.21 alone.
//
//	GATEWAY_URL=http://127.0.0.1:8000 GATEWAY_API_KEY=rcg_... go run submit_and_wait.go
//
// MODEL_ID and PROMPT can be set. A repetition with the same IDEMPOTENCY_KEY returns the request of
// the first run, also after this program was killed.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	image    = "https://playgrounds-storage-public.runcomfy.net/tools/7349/media-files/input.png"
	attempts = 6
	// How long one call waits on the server. The client's own time-out must be longer.
	wait = 30 * time.Second
)

// answer has the fields of every answer that this program reads, problems included.
type answer struct {
	RequestID string          `json:"request_id"`
	Status    string          `json:"gateway_status"`
	Output    json.RawMessage `json:"output"`
	Error     json.RawMessage `json:"error"`
	Cost      *float64        `json:"cost"`
	Billed    string          `json:"billed"`
	Code      string          `json:"code"`
	Detail    string          `json:"detail"`
	Retryable bool            `json:"retryable"`
}

var client = &http.Client{Timeout: wait + 10*time.Second}

// call calls the gateway, and again what may succeed later. Safe for a submit only because it
// carries an Idempotency-Key.
func call(method, path, body string, headers map[string]string) (*answer, error) {
	for attempt := 1; ; attempt++ {
		found, pause, err := callOnce(method, path, body, headers)
		if err == nil || attempt == attempts || (found != nil && !found.Retryable) {
			return found, err
		}
		if pause == 0 {
			pause = time.Second << attempt
		}
		time.Sleep(pause)
	}
}

// callOnce returns the answer. With an error: its problem and Retry-After, or nil if none came.
func callOnce(method, path, body string, headers map[string]string) (*answer, time.Duration, error) {
	request, err := http.NewRequest(method, os.Getenv("GATEWAY_URL")+path, bytes.NewBufferString(body))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("GATEWAY_API_KEY"))
	request.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, 0, err
	}
	found := &answer{}
	if err := json.Unmarshal(content, found); err != nil {
		// A proxy's page: 502, 503 and 504 may pass.
		found = &answer{Code: "http_" + strconv.Itoa(response.StatusCode), Retryable: response.StatusCode >= 502}
	}
	if response.StatusCode < 400 {
		return found, 0, nil
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return found, time.Duration(seconds) * time.Second, errors.New(found.Code + ": " + found.Detail)
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func isFinal(status string) bool {
	return status == "completed" || status == "failed" || status == "cancelled"
}

func run() error {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	key := setting("IDEMPOTENCY_KEY", fmt.Sprintf("%x", random))
	fmt.Println("Idempotency-Key", key)
	input, err := json.Marshal(map[string]any{
		"prompt":          setting("PROMPT", "She turns her head and breaks into a soft smile."),
		"start_image_url": image,
	})
	if err != nil {
		return err
	}
	path := "/v1/models/" + setting("MODEL_ID", "kling/kling-3.0/standard/image-to-video")
	submitted, err := call("POST", path, string(input), map[string]string{"Idempotency-Key": `"` + key + `"`})
	if err != nil {
		return err
	}
	fmt.Println(submitted.RequestID, submitted.Status)
	prefer := map[string]string{"Prefer": fmt.Sprintf("wait=%d", int(wait.Seconds()))}
	for {
		result, err := call("GET", "/v1/requests/"+submitted.RequestID+"/result?include_cost=true", "", prefer)
		if err != nil {
			return err
		}
		fmt.Println(result.RequestID, result.Status)
		if !isFinal(result.Status) {
			continue
		}
		if result.Status != "completed" {
			return fmt.Errorf("error %s, billed %s", result.Error, result.Billed)
		}
		fmt.Println("output", string(result.Output))
		if result.Cost != nil {
			fmt.Printf("cost %g USD, billed %s\n", *result.Cost, result.Billed)
		}
		return nil
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
