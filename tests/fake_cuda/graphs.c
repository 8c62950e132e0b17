// Stream capture: work is noted down instead of done, and done when the graph is launched.
#include "device.h"
#include <stdlib.h>

typedef struct {
    int is_launch, kind;
    launch_t launch;
    void* to;
    const void* from;
    size_t bytes;
} node_t;

typedef struct { node_t* nodes; int count; } graph_t;

static graph_t* open_graph;

int capturing(void) { return open_graph != NULL; }

static node_t* node(void) {
    open_graph->nodes = realloc(open_graph->nodes, sizeof(node_t) * (size_t)(open_graph->count + 1));
    return &open_graph->nodes[open_graph->count++];
}

int begin_capture(void) {
    if (open_graph) return CAPTURE_UNSUPPORTED;
    open_graph = calloc(1, sizeof(graph_t));
    return OK;
}

int end_capture(void** graph) {
    *graph = open_graph;
    open_graph = NULL;
    return *graph ? OK : INVALID_VALUE;
}

int capture_launch(const launch_t* launch) {
    node_t* new = node();
    new->is_launch = 1;
    new->launch = *launch;
    for (int i = 0; i < launch->kernel->count; i++) new->launch.arguments[i] = NULL;
    return OK;
}

int capture_copy(void* to, const void* from, size_t bytes, int kind) {
    *node() = (node_t){.to = to, .from = from, .bytes = bytes, .kind = kind};
    return OK;
}

int launch_graph(void* handle) {
    graph_t* graph = handle;
    int error = OK;
    for (int i = 0; i < graph->count && !error; i++) {
        node_t* each = &graph->nodes[i];
        error = each->is_launch ? execute(&each->launch) : copy(each->to, each->from, each->bytes, each->kind);
    }
    __sync_fetch_and_add(&control->graph_launches, 1);
    return error;
}
