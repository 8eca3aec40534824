// Runs a job with the Go client that openapi-generator made.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	rcgw "github.com/GIT_USER_ID/GIT_REPO_ID"
)

const model = "kling/kling-3.0/standard/image-to-video"

func main() {
	settings := rcgw.NewConfiguration()
	settings.Servers = rcgw.ServerConfigurations{{URL: os.Getenv("GATEWAY_URL")}}
	api := rcgw.NewAPIClient(settings).RequestsAPI
	ctx := context.WithValue(context.Background(), rcgw.ContextAccessToken, os.Getenv("GATEWAY_API_KEY"))
	input := map[string]interface{}{"prompt": "a cliff", "start_image_url": "https://example.com/a.png"}
	key := fmt.Sprint(time.Now().UnixNano())

	dry, _, err := api.Submit(ctx, model).RequestBody(input).DryRun(true).Execute()
	if err != nil || dry.DryRun == nil {
		panic(fmt.Sprint("dry run: ", err, dry))
	}
	submitted, _, err := api.Submit(ctx, model).RequestBody(input).IdempotencyKey(key).Execute()
	if err != nil || submitted.Status == nil {
		panic(fmt.Sprint("submit: ", err, submitted))
	}
	waited, _, err := api.Submit(ctx, model).RequestBody(input).IdempotencyKey(key + "-2").Prefer("wait=50").Execute()
	if err != nil || waited.EndedRequest == nil {
		panic(fmt.Sprint("submit that waits: ", err, waited))
	}
	ended, _, err := api.Result(ctx, submitted.Status.RequestId).Prefer("wait=50").Execute()
	if err != nil {
		panic(err)
	}
	fmt.Println(ended.GatewayStatus, ended.Output)
}
