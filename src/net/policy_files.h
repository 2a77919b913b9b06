/* A policy on disk (one .lua file, or a folder of them) as a bundle. Blocking: start-up. */
#ifndef USHER_NET_POLICY_FILES_H
#define USHER_NET_POLICY_FILES_H

#include "base/buf.h"
#include "base/error.h"

/* A folder's *_spec.lua files stay behind. BADARG names the path and what is wrong. */
int policy_files_read(const char *path, struct buf *bundle, struct error *e);

#endif
