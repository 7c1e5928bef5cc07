import torch

from privagams_oneshot import isometry


def outer(v):
    out = torch.empty(len(v), isometry.size(v.shape[1]), dtype=v.dtype)
    isometry.write_outer(v, out)
    return out


def vectors(n, d):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_inner_products_of_outer_products_are_squared_inner_products():
    v = vectors(5, 7)
    torch.testing.assert_close(outer(v) @ outer(v).T, (v @ v.T).square())
    torch.testing.assert_close(outer(v).norm(dim=1), v.square().sum(1))


def test_a_matrix_comes_back_as_it_was():
    v = vectors(5, 7)
    torch.testing.assert_close(isometry.as_matrix(outer(v), 7), v[:, :, None] * v[:, None, :])


def test_any_vector_acts_as_its_symmetric_matrix():
    v, told = vectors(5, 7), vectors(2, 28)
    matrix = isometry.as_matrix(told, 7)
    assert torch.equal(matrix, matrix.transpose(1, 2))
    torch.testing.assert_close(outer(v) @ told.T, torch.einsum("ni,kij,nj->nk", v, matrix, v))
