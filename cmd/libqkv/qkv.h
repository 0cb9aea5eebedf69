/*
 * qkv: attention on CPUs, in C.
 *
 * Operands are pointers into memory of the caller's, with shapes and strides: nothing is copied, and nothing is
 * kept after a call. Strides are in elements and may be 0 or negative. Every function returns 0, or -1 with a text
 * in error, an array of error_size bytes that may be NULL; then nothing has been written. All may be called from
 * several threads at once, apart from those of one step. What a call computes is described by the Go package,
 * github.com/qkv-go/qkv, under the names in brackets.
 */
#ifndef QKV_H
#define QKV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum qkv_type { QKV_FLOAT32, QKV_FLOAT16, QKV_BFLOAT16, QKV_INT8, QKV_BOOL };

/* A tensor [batch, heads, seq, dim], or [batch, heads, seq_q, seq_kv] of pairs, in that order whatever the order in
 * memory. One of zeros is no tensor. [View] */
typedef struct qkv_tensor {
	void *data; /* element 0, 0, 0, 0 */
	int64_t shape[4];
	int64_t stride[4];
	int32_t type; /* enum qkv_type */
} qkv_tensor;

/* A matrix of float32. [Matrix] */
typedef struct qkv_matrix {
	float *data;
	int64_t rows, cols;
	int64_t row_stride, col_stride;
} qkv_matrix;

/* Where the queries of a sequence stand among its keys. [Align] */
enum qkv_align { QKV_ALIGN_NONE, QKV_TOP_LEFT, QKV_BOTTOM_RIGHT, QKV_ALIGN_OFFSET };

/* The operands of one attention, out = softmax(scale * q kT + bias) v. Zero is the default of each. [Call] */
typedef struct qkv_attention_args {
	qkv_tensor q, out;             /* [batch, heads, seq_q, dim], float32 */
	qkv_tensor k, v;               /* [batch, kv_heads, seq_kv, dim]; an error in a step, which has its own */
	qkv_tensor k_scale, v_scale;   /* [batch, kv_heads, seq_kv, 1], float32, of int8 */
	qkv_tensor keep;               /* bool, true where a query attends a key; broadcasts to pairs */
	qkv_tensor bias;               /* float32 or float16, added to scores; broadcasts to pairs */
	float *lse;                    /* [batch, heads, seq_q], or NULL */
	const int64_t *lens_q, *lens_kv; /* [batch], or NULL */
	const float *sinks;            /* [heads], or NULL */
	float scale;                   /* 0: 1/sqrt(dim) */
	float softcap;                 /* 0: none */
	int64_t offset;                /* of QKV_ALIGN_OFFSET */
	int64_t window_left, window_right; /* keys beside the query's own, if windowed is not 0; INT64_MAX: all */
	int32_t windowed;
	int32_t causal;
	int32_t align;                 /* enum qkv_align */
} qkv_attention_args;

/* A layer of a cache. [CacheLayer] */
typedef struct qkv_cache_layer {
	int64_t kv_heads, dim_qk, dim_v;
	int64_t window, first;        /* 0: all keys */
	int32_t key_type, value_type; /* enum qkv_type, other than bool */
} qkv_cache_layer;

/* Handles are numbers that are used once; 0 is none. */
typedef uint64_t qkv_cache, qkv_sequence, qkv_step;

#ifndef QKV_NO_PROTOTYPES

/* The most threads that a call computes on; 0 is as many as there are processors, the default. Call it before others. */
int qkv_set_workers(int64_t workers, char *error, size_t error_size);

/* [Run] */
int qkv_attention(const qkv_attention_args *args, char *error, size_t error_size);

/* y = x w + bias, with x [m, k], w [k, n], bias [n] or NULL. Weights [n, k] have their strides exchanged. [MatMul] */
int qkv_matmul(const qkv_matrix *x, const qkv_matrix *w, const float *bias, const qkv_matrix *y, char *error, size_t error_size);

/* A cache of pages for all layers of a model; sequences in it. [Cache, Sequence] */
int qkv_cache_new(const qkv_cache_layer *layers, int64_t n, int64_t page_tokens, int64_t pages, int64_t sequences,
                  qkv_cache *cache, char *error, size_t error_size);
int qkv_cache_free(qkv_cache cache, char *error, size_t error_size); /* and its sequences and steps */
int qkv_sequence_new(qkv_cache cache, qkv_sequence *sequence, char *error, size_t error_size);
int qkv_sequence_fork(qkv_sequence of, qkv_sequence *sequence, char *error, size_t error_size);
int qkv_sequence_truncate(qkv_sequence sequence, int64_t tokens, char *error, size_t error_size);
int qkv_sequence_len(qkv_sequence sequence, int64_t *tokens, char *error, size_t error_size);
int qkv_sequence_free(qkv_sequence sequence, char *error, size_t error_size);

/* New tokens of some sequences: begin, write and attend each layer, commit or roll back; then begin anew. [Step]
 * k [1, kv_heads, tokens, dim_qk] and v [1, kv_heads, tokens, dim_v] are those of all sequences, one behind the
 * other, as are the queries. The arguments of qkv_step_attend have neither k, v, their scales, lengths, an align
 * nor an offset: a step has its own, and what is given is an error. */
int qkv_step_new(qkv_cache cache, qkv_step *step, char *error, size_t error_size);
int qkv_step_begin(qkv_step step, const qkv_sequence *sequences, const int64_t *tokens, int64_t n, char *error, size_t error_size);
int qkv_step_write(qkv_step step, int64_t layer, const qkv_tensor *k, const qkv_tensor *v, char *error, size_t error_size);
int qkv_step_attend(qkv_step step, int64_t layer, const qkv_attention_args *args, char *error, size_t error_size);
int qkv_step_commit(qkv_step step, char *error, size_t error_size);
int qkv_step_rollback(qkv_step step, char *error, size_t error_size);
int qkv_step_free(qkv_step step, char *error, size_t error_size); /* and rolls back what has begun */

#endif
#ifdef __cplusplus
}
#endif
#endif
