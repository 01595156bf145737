"""Baselines for a network: a constant, brightness and redshift, and two classical regressions on the spectra.

All learn from the same training spectra as the network and know no more. (The classical measurement itself is
`virial.measure`, which needs no training.)
"""

from collections.abc import Iterator

import numpy as np

COMPONENTS = 60  # principal components kept: beyond them the training spectra show noise alone (chosen on validation)
GROUP = 8  # pixels averaged before the components are found: 552 km/s at a step of 1e-4 dex
SEED = 42


def predictions(
    training: tuple[np.ndarray, np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Train every baseline and predict.

    Parameters
    ----------
    training : (spectra, redshift, label)
        Spectra of shape (n, pixels) or (n, pixels, 1) in the tables' unit, redshifts and log10(M_BH / M_Sun) of
        shape (n,).
    others : (spectra, redshift)
        What to predict, m spectra.

    Yields
    ------
    name : str
        Of the baseline.
    prediction : ndarray, shape (m,)
    """
    from sklearn.decomposition import PCA  # not at the top: nothing else needs scikit-learn
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    spectra, redshift, label = training
    label = np.asarray(label, float)
    yield "constant (the mean label)", np.full(len(others[0]), label.mean())

    simple, simple_others = _brightness(spectra, redshift), _brightness(*others)
    yield "luminosity and redshift", LinearRegression().fit(simple, label).predict(simple_others)

    grouped, grouped_others = _compressed(spectra), _compressed(others[0])
    components = PCA(min(COMPONENTS, *grouped.shape), svd_solver="randomized", random_state=SEED).fit(grouped)
    features = np.column_stack([components.transform(grouped), simple])
    features_others = np.column_stack([components.transform(grouped_others), simple_others])
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    yield "ridge regression on components", ridge.fit(features, label).predict(features_others)
    boosting = HistGradientBoostingRegressor(max_iter=400, learning_rate=0.05, early_stopping=True, random_state=SEED)
    yield "gradient boosting on components", boosting.fit(features, label).predict(features_others)


def _brightness(spectra: np.ndarray, redshift: np.ndarray) -> np.ndarray:
    """log10 of the median luminosity density, floored far below any quasar, and the redshift; shape (n, 2)."""
    median = np.median(spectra.reshape(len(spectra), -1), axis=1)
    return np.column_stack([np.log10(np.maximum(median, 1e-3)), redshift])


def _compressed(spectra: np.ndarray) -> np.ndarray:
    """Average groups of pixels, divide by the spectrum's median, and limit what noise can do; shape (n, groups)."""
    flat = spectra.reshape(len(spectra), -1)
    whole = flat.shape[1] // GROUP * GROUP
    grouped = flat[:, :whole].reshape(len(flat), -1, GROUP).mean(axis=2, dtype=np.float32)
    return np.clip(grouped / np.maximum(np.median(grouped, axis=1, keepdims=True), 1e-3), -2.0, 8.0)
