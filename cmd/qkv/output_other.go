//go:build !unix

package main

import (
	"io/fs"
	"os"
)

// keepOwner does nothing: a file in a folder has the owner that the folder says.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

// hasOtherNames reports that a file has one name, since nothing tells.
func hasOtherNames(fs.FileInfo) bool { return false }
