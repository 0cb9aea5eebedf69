package qkv

// Float16 is the bits of an IEEE 754 binary16 number: 1 of sign, 5 of exponent, 10 of
// fraction.
type Float16 uint16
