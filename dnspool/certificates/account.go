package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
)

const maxEABKey = 4 << 10 // bytes of the file

// A savedAccount is an account as it is kept in state_dir.
type savedAccount struct {
	Account acme.Account `json:"account"`
	Key     string       `json:"key"` // PEM
}

// accountOf returns our account at an authority, which is made unless there is one.
func (i *issuer) accountOf(ctx context.Context, client *acmez.Client) (account acme.Account, err error) {
	if account, err = i.loadAccount(ctx); errors.Is(err, fs.ErrNotExist) {
		if err := i.storage.Lock(ctx, i.accountKey()); err != nil { // several names, or copies, may be the first at once
			return acme.Account{}, err
		}
		defer i.storage.Unlock(ctx, i.accountKey())
		account, err = i.loadAccount(ctx)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return i.newAccount(ctx, client)
	case err != nil:
		return acme.Account{}, fmt.Errorf("cannot use the ACME account in %s: restore the file, or remove it to register another account "+
			"(and change a CAA record that names the old accounturi): %w", i.storage.Filename(i.accountKey()), err)
	}
	return account, nil
}

func (i *issuer) accountKey() string { return path.Join("accounts", i.IssuerKey()+".json") }

func (i *issuer) loadAccount(ctx context.Context) (acme.Account, error) {
	text, err := i.storage.Load(ctx, i.accountKey())
	if err != nil {
		return acme.Account{}, err
	}
	var saved savedAccount
	if err := json.Unmarshal(text, &saved); err != nil {
		return acme.Account{}, err
	}
	saved.Account.PrivateKey, err = certmagic.PEMDecodePrivateKey([]byte(saved.Key))
	return saved.Account, err
}

// newAccount registers an account, and saves it.
func (i *issuer) newAccount(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	if err := i.checkWritable(path.Dir(i.accountKey())); err != nil {
		return acme.Account{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, err
	}
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: key} // config wants it
	if i.config.Email != "" {
		account.Contact = []string{"mailto:" + i.config.Email}
	}
	if i.config.EABKeyID != "" {
		hmac, err := ReadEABKey(i.config)
		if err != nil {
			return acme.Account{}, err
		}
		eab := acme.EAB{KeyID: i.config.EABKeyID, MACKey: hmac}
		if err := account.SetExternalAccountBinding(ctx, client.Client, eab); err != nil {
			return acme.Account{}, fmt.Errorf("binding the external account: %w", err)
		}
	}
	if account, err = client.NewAccount(ctx, account); err != nil {
		return acme.Account{}, fmt.Errorf("registering an account at %s: %w", i.directory, err)
	}
	text, err := certmagic.PEMEncodePrivateKey(key)
	if err != nil {
		return acme.Account{}, err
	}
	saved, err := json.Marshal(savedAccount{account, string(text)})
	if err != nil {
		return acme.Account{}, err
	}
	if err := i.storage.Store(ctx, i.accountKey(), saved); err != nil {
		return acme.Account{}, fmt.Errorf("saving the account: %w", err)
	}
	i.log.Info("ACME account registered; a CAA record with this accounturi keeps other accounts out",
		zap.String("accounturi", account.Location), zap.String("directory", i.directory))
	return account, nil
}

// replaceAccount registers another account in place of one that the authority no longer knows. It returns the account
// that is in force, which an order for another name may have registered already.
func (i *issuer) replaceAccount(ctx context.Context, client *acmez.Client, lost acme.Account) (acme.Account, error) {
	if err := i.storage.Lock(ctx, i.accountKey()); err != nil {
		return acme.Account{}, err
	}
	defer i.storage.Unlock(ctx, i.accountKey())
	if account, err := i.loadAccount(ctx); err == nil && account.Location != lost.Location {
		return account, nil
	}
	account, err := i.newAccount(ctx, client)
	if err != nil {
		return acme.Account{}, err
	}
	i.log.Warn("the authority has forgotten our ACME account; a CAA record with the old accounturi has to be changed",
		zap.String("old", lost.Location), zap.String("accounturi", account.Location), zap.String("directory", i.directory))
	return account, nil
}

// ReadEABKey reads the key of the external account, in base64url, and returns it without padding and line ends.
func ReadEABKey(c *config.ACME) (string, error) {
	text, err := safefile.ReadSecret(c.EABKeyFile, maxEABKey)
	if err != nil {
		return "", fmt.Errorf("cannot read the key of the external account: %w", err)
	}
	key := strings.TrimRight(strings.TrimSpace(string(text)), "=")
	if _, err := base64.RawURLEncoding.DecodeString(key); err != nil || key == "" {
		return "", fmt.Errorf("%s: want the key of the external account in base64url", c.EABKeyFile)
	}
	return key, nil
}
