/* zlib as Swift needs it: its header, and the one macro that is used as a function. No logic. */
#ifndef BALLAST_CZLIB_SHIM_H
#define BALLAST_CZLIB_SHIM_H

#include <zlib.h>

/* A stream in gzip's format (RFC 1952): 16 beside the window's bits says so. */
static inline int czlib_begin_gzip(z_stream *stream, int level) {
    return deflateInit2(stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
}

#endif
