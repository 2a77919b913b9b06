/* Refusals that are not in the log, kept by the leader for rehearsals (policy/refusals.h).
 * Inside the service only. */
#ifndef USHER_SERVICE_REHEARSE_RECORD_H
#define USHER_SERVICE_REHEARSE_RECORD_H

#include "policy/refusals.h"
#include "service/service.h"

struct recorder;
struct transport_peer;

/* `dir` NULL: nothing is kept (then NULL is returned, and is fine everywhere below). */
struct recorder *recorder_new(struct service *s, struct env *env, const char *dir);
/* Nothing begins by itself any more; what was noted goes to the disk with one last job. */
void recorder_end(struct recorder *r);
void recorder_free(struct recorder *r); /* once that job is done */
/* Copies it; never blocks, never fails: what does not fit is not recorded. */
void recorder_note(struct recorder *r, const struct refusal *one);
/* What all nodes that answer within two seconds have, as records one after the other. */
void recorder_gather(struct recorder *r, request_refusals_cb cb, void *arg);
/* A frame of the kinds below, from a peer. */
enum { FRAME_REFUSALS_ASK = 3, FRAME_REFUSALS = 4 };
void recorder_frame(struct recorder *r, const struct transport_peer *peer, const uint8_t *data,
                    size_t len);

#endif
