//! Items whose vectors are like what the user took, and like one item.

use super::Scores;
use crate::state::recommend::id::Id;
use crate::state::recommend::view::View;

/// Cosine with the user's taste, of the catalogue and of the items at hand; what points away scores nothing.
pub fn interest<'a>(view: &View<'a>) -> Scores<'a> {
    let Some(taste) = view.user.and_then(|user| user.taste.as_ref()) else { return Scores::default() };
    like(view, &taste.sum)
}

/// The neighbours of an item by its vector: for items that are too new to have others.
pub fn nearest<'a>(view: &View<'a>, item: &Id) -> Scores<'a> {
    let Some(interest) = &view.config().interest else { return Scores::default() };
    let own = view.item(item).filter(|item| item.events < interest.cold_below);
    let Some(vector) = own.and_then(|item| item.meta.as_ref()?.vector.as_ref()) else { return Scores::default() };
    let wide: Vec<f64> = vector.iter().map(|x| f64::from(*x)).collect();
    let mut scores = like(view, &wide);
    scores.remove(item);
    scores
}

fn like<'a>(view: &View<'a>, query: &[f64]) -> Scores<'a> {
    let mut scores = Scores::default();
    let length = query.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length <= 0.0 {
        return scores;
    }
    let catalogue = view.global.into_iter().flat_map(|shelf| shelf.catalogue.iter().map(|card| (&card.item, &card.vector)));
    let at_hand = view.items.iter().filter_map(|(id, item)| Some((*id, item.meta.as_ref()?.vector.as_ref()?)));
    for (item, vector) in catalogue.chain(at_hand) {
        let cosine = vector.iter().zip(query).map(|(x, y)| f64::from(*x) * y).sum::<f64>() / length;
        if cosine > 0.0 {
            scores.insert(item, cosine);
        }
    }
    scores
}
