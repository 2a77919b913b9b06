/* Brings what happens in a node to its scripts: the service's events become hooks. */
#ifndef USHER_NET_SCRIPT_EVENTS_H
#define USHER_NET_SCRIPT_EVENTS_H

#include "script/script.h"
#include "service/service.h"

/* Before the loop runs; the scripts outlive the service's last event. */
void script_events_listen(struct service *service, struct scripts *scripts);

#endif
