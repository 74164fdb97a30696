// Command pattern-check reads a JSON list of regular expressions and prints those that Go cannot compile, with the reason.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
)

func main() {
	var patterns []string
	if err := json.NewDecoder(os.Stdin).Decode(&patterns); err != nil {
		fmt.Fprintln(os.Stderr, "standard input holds no JSON list of texts:", err)
		os.Exit(1)
	}
	problems := []string{}
	for _, pattern := range patterns {
		if _, err := regexp.Compile(pattern); err != nil {
			problems = append(problems, err.Error())
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(problems); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
