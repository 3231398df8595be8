/*
 * UTF-8: decoding with the standard replacement of undecodable bytes (Unicode 15, section 3.9, "U+FFFD substitution of
 * maximal subparts"), which is what Python's errors="replace" and Rust's from_utf8_lossy do.
 */
#ifndef DLX_TEXT_UTF8_H
#define DLX_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What dlx_utf8_next reports instead of a code point. */
#define DLX_UTF8_BAD 0xFFFFFFFFu /* these bytes can never become a character */
#define DLX_UTF8_CUT 0xFFFFFFFEu /* the text ends inside a character */

/* Reads one character of p[0 .. n), n >= 1. Returns the bytes it takes (at least 1); for BAD and CUT these are the
 * bytes that one U+FFFD replaces. */
size_t dlx_utf8_next(const char *p, size_t n, uint32_t *code_point);

/* Reads the last character of p[0 .. n), n >= 1, of UTF-8; returns where it begins. */
size_t dlx_utf8_before(const char *p, size_t n, uint32_t *code_point);

/* Number of characters of UTF-8. */
size_t dlx_utf8_count(const char *p, size_t n);

/* Writes a code point (no surrogate, at most U+10FFFF); returns the number of bytes. */
size_t dlx_utf8_put(char out[4], uint32_t code_point);

/* The order of two texts, as memcmp reports it: byte by byte, which is code point by code point; what another begins
 * with comes first. */
int dlx_utf8_compare(const char *a, size_t na, const char *b, size_t nb);

bool dlx_utf8_valid(const char *p, size_t n);

#endif
