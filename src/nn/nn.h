/*
 * nn.h
 *	  The numeric engine: includes the headers of all its folders.
 */
#ifndef FNN_NN_H
#define FNN_NN_H

#include "nn/base/base.h"
#include "nn/base/optimizer.h"
#include "nn/base/tape.h"
#include "nn/base/tensor.h"
#include "nn/file/file.h"
#include "nn/loss/loss.h"
#include "nn/op/op.h"
#include "nn/product/product.h"
#include "nn/search/search.h"

#endif							/* FNN_NN_H */
