package certificates

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caddyserver/certmagic"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
	"mirrorpool/config/statefile"
)

// writeTestSize is more than the bytes of a certificate with its chain and key.
const writeTestSize = 32 << 10

// checkWritable returns an error unless a folder of state_dir takes a file. What an authority issues and we cannot save
// is lost, and counts against its limits.
func (i *issuer) checkWritable(key string) error {
	folder := i.storage.Filename(key)
	err := os.MkdirAll(folder, 0o700)
	if err == nil {
		err = writeTest(filepath.Join(folder, "write-test"))
	}
	if err != nil {
		return fmt.Errorf("nothing is ordered, because nothing can be saved in %s (%w); "+
			"make the folder writable for the server's user, or free disk space", folder, safefile.Reason(err))
	}
	return nil
}

func writeTest(path string) error {
	staged, err := statefile.Stage(path, func(w io.Writer) error {
		_, err := w.Write(make([]byte, writeTestSize))
		return err
	})
	if err != nil {
		return err
	}
	staged.Discard()
	return nil
}

// CheckFolders returns an error if this user cannot write to a folder in dir, where certificates by ACME are saved, or
// if other users can. Folders that do not exist are created later.
func CheckFolders(c *config.Server, dir string) error {
	if c.HTTP.ACME == nil {
		return nil
	}
	folders := []string{"", "accounts", sharedFolder, "certificates", "locks", "tries", notedFolder}
	for _, directory := range c.HTTP.ACME.Directories {
		authority := (&issuer{directory: directory}).IssuerKey()
		folders = append(folders, filepath.Join("tries", authority), certmagic.StorageKeys.CertsPrefix(authority))
		for _, name := range c.HTTP.ACME.Names {
			folders = append(folders, certmagic.StorageKeys.CertsSitePrefix(authority, name))
		}
	}
	for _, folder := range folders {
		if err := statefile.CheckFolder(filepath.Join(dir, folder)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
