/*
 * loss_private.h
 *	  What the losses over cosines share.
 */
#ifndef FNN_LOSS_LOSS_PRIVATE_H
#define FNN_LOSS_LOSS_PRIVATE_H

#include "nn/base/base.h"

/* unit[d] = x / |x|: returns 1 / |x|, 0 if that cannot be had. */
extern fnn_real fnn_normalise(int64_t d, const fnn_real *x, fnn_real *unit);
/* dx += (grad - (grad . unit) unit) / |x| */
extern void fnn_normalise_back(int64_t d, const fnn_real *grad, const fnn_real *unit, fnn_real inverse, fnn_real *dx);

#endif							/* FNN_LOSS_LOSS_PRIVATE_H */
