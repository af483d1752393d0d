// Opens a checkpoint and checks proofs under it with golang.org/x/mod alone, as an auditor of a Go module would.
//
// Standard input: {"checkpoint": note, "keys": [vkey], "records": [{"leaf", "index", "proof"}], "earlier":
// [{"size", "root", "proof"}]}, bytes in base64; a vkey is "name+hash+key" as c2sp.org/signed-note has it, of type 1
// (Ed25519) or 4 (c2sp.org/tlog-cosignature). Standard output: {"origin", "size", "signed": [name]}. Exits with 1 and a
// message where a key's signature is missing or wrong, or a proof does not hold.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run open_checkpoint.go < input.json
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const cosignatureType = 4

type input struct {
	Checkpoint string
	Keys       []string
	Records    []struct {
		Leaf  []byte
		Index int64
		Proof [][]byte
	}
	Earlier []struct {
		Size  int64
		Root  []byte
		Proof [][]byte
	}
}

type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }

func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(signature)
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text)
	return ed25519.Verify(c.key, []byte(signed), signature[8:])
}

func verifier(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("%q: expected name+hash+key", vkey)
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != cosignatureType {
		return note.NewVerifier(vkey)
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash := binary.BigEndian.Uint32(sum[:])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		return nil, fmt.Errorf("%q: expected hash %08x", vkey, hash)
	}
	return cosigner{parts[0], hash, key[1:]}, nil
}

func toHash(data []byte) (hash tlog.Hash) {
	if len(data) != len(hash) {
		log.Fatalf("expected a hash of %d bytes, got %d", len(hash), len(data))
	}
	copy(hash[:], data)
	return hash
}

func toHashes(proof [][]byte) (hashes []tlog.Hash) {
	for _, one := range proof {
		hashes = append(hashes, toHash(one))
	}
	return hashes
}

func main() {
	log.SetFlags(0)
	var given input
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		log.Fatal(err)
	}
	var keys []note.Verifier
	for _, vkey := range given.Keys {
		key, err := verifier(vkey)
		if err != nil {
			log.Fatal(err)
		}
		keys = append(keys, key)
	}
	opened, err := note.Open([]byte(given.Checkpoint), note.VerifierList(keys...))
	if err != nil {
		log.Fatal(err)
	}
	if len(opened.Sigs) != len(keys) {
		log.Fatalf("expected %d signatures, got %d", len(keys), len(opened.Sigs))
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 {
		log.Fatalf("expected origin, size and root, got %d lines", len(lines)-1)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		log.Fatal(err)
	}
	for _, one := range given.Records {
		proof := tlog.RecordProof(toHashes(one.Proof))
		if err := tlog.CheckRecord(proof, size, root, one.Index, tlog.RecordHash(one.Leaf)); err != nil {
			log.Fatalf("entry %d: %v", one.Index, err)
		}
	}
	for _, one := range given.Earlier {
		if err := tlog.CheckTree(tlog.TreeProof(toHashes(one.Proof)), size, root, one.Size, toHash(one.Root)); err != nil {
			log.Fatalf("size %d: %v", one.Size, err)
		}
	}
	signed := []string{}
	for _, one := range opened.Sigs {
		signed = append(signed, one.Name)
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"origin": lines[0], "size": size, "signed": signed})
}
