/* What the two parts of a peer connection share (transport_conn.c, transport_handshake.c);
 * nobody else includes this. */
#ifndef USHER_RAFTIO_TRANSPORT_CONN_IMPL_H
#define USHER_RAFTIO_TRANSPORT_CONN_IMPL_H

#include "raftio/transport_conn.h"

enum control_type { CONTROL_KEEP = 1, CONTROL_WELCOME, CONTROL_REFUSE };

/* transport_conn.c */
uint64_t conn_now_ms(const struct conn *c);
void conn_move(struct conn *c, enum conn_state to);
bool conn_is_over(const struct conn *c);
void conn_end(struct conn *c, enum conn_fault fault, bool told, const struct error *why);
void conn_fail(struct conn *c, enum conn_fault fault, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void conn_out_of_memory(struct conn *c);
void conn_crypto_failed(struct conn *c);
/* A refusal is on its way: waits for the other side to close. */
void conn_linger(struct conn *c, enum conn_fault fault, const struct error *why);
void conn_write(struct conn *c, struct buf *b);
void conn_control(struct conn *c, enum control_type type, const struct error *why);
void conn_go_up(struct conn *c);

/* transport_handshake.c */
void handshake_greet(struct conn *c);
/* Takes bytes until one message is whole and handles it; returns how many it used. */
size_t handshake_take(struct conn *c, const uint8_t *bytes, size_t len);

#endif
